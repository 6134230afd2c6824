"""Estimators: ``fit(X, future_value, is_return=..., today=..., horizon_days=...)``, then ``predict_parts(X)``."""
