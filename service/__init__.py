"""Rushes: text in, video out, on your own GPUs."""
