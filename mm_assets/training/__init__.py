"""Training of fusion models and fitting of encoders, on vectors in memory."""
