"""Use cases: the only callers of the store that move a job."""
