"""The stages of an attempt."""
