"""The code that drives each video model."""
