"""Customer lifetime value: loading, features, models, evaluation and the synthetic shop."""

__version__ = "0.1.0"
