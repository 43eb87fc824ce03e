"""Wire shapes: what the API answers with, one file a subject."""
