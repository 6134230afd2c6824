"""The MLflow project: the only writer of runs and of the registry, and the command line ``clv``."""
