"""Artifact stores: a local folder, S3, and a Modal Volume."""
