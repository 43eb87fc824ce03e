"""Response models of the API, one file per resource."""
