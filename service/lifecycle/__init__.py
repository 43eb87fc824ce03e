"""Use cases: the only callers of the store that change a job's state."""
