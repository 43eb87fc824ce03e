"""The only way to connect to addresses that a customer names."""
