"""Reach a GPU that does not ask for work by itself."""
