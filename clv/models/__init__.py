"""Estimators: fitted on labelled snapshots (BG/NBD on the customers of one day); each then has ``predict_parts(X)``."""
