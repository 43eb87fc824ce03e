"""The steps of an attempt, one function each."""
