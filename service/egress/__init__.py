"""The only door to addresses that a customer names."""
