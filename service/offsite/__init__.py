"""Replicates a local SQLite database to Modal, written by the one container that owns it."""
