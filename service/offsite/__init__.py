"""Where a local database is kept a second time, by the one container that owns it."""
