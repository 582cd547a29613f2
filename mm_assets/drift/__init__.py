"""Incoming batches: compared with what the model was trained on, and taken into the data."""
