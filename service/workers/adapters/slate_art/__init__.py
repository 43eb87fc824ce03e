"""How the sandbox model's slate is drawn; only adapters/slate.py comes in here."""
