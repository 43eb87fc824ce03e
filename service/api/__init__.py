"""The HTTP API: requests to domain objects, domain objects to responses."""
