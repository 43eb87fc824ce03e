"""Signatures by Standard Webhooks 1.0.0: https://github.com/standard-webhooks/standard-webhooks."""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime


def encode_secret(secret: bytes) -> str:
    """Encode a secret for the receiver's library: `whsec_` and base64."""
    return "whsec_" + base64.b64encode(secret).decode()


def headers(
    delivery_id: str, body: bytes, secrets: Iterable[bytes], now: datetime
) -> dict[str, str]:
    """Return the standard's three headers, signed by each of the secrets."""
    timestamp = str(int(now.timestamp()))
    content = b".".join([delivery_id.encode(), timestamp.encode(), body])
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(_signature(secret, content) for secret in secrets),
    }


def _signature(secret: bytes, content: bytes) -> str:
    return "v1," + base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode()
