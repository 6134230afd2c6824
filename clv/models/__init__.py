"""Estimators: ``fit(X, future_value, horizon_days=...)``, then ``predict_parts(X)``."""
