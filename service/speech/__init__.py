"""Text to speech: voices of this machine and of providers."""
