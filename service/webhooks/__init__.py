"""Tell others what happened to their jobs, until they have heard it."""
