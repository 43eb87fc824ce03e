"""The door: HTTP in, domain words through, HTTP out."""
