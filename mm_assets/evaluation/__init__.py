"""Metrics with intervals, plots and the model card."""
