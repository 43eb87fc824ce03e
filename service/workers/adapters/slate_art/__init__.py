"""Drawing of the sandbox model's slate; imported by adapters/slate.py only."""
