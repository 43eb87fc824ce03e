"""Webhook deliveries: sent and retried until the receiver accepts them."""
