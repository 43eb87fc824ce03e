"""Tools for development; the service does not use them."""
