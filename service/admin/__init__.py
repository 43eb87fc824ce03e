"""The admin pages: they read through the store and act by the use cases of the API."""
