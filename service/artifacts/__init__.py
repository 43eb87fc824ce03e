"""Bytes: finished artifacts under a key."""
