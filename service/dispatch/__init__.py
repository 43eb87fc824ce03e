"""Dispatchers: start attempts on platforms whose workers do not poll for jobs."""
