"""The demo app, a client of the prediction service."""
