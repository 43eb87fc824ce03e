"""Standard Webhooks: https://github.com/standard-webhooks/standard-webhooks, version 1.0.0."""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime


def shown(secret: bytes) -> str:
    """As the receiver's library wants it: `whsec_` and base64."""
    return "whsec_" + base64.b64encode(secret).decode()


def headers(
    delivery_id: str, body: bytes, signing: Iterable[bytes], now: datetime
) -> dict[str, str]:
    """The three headers of the standard, with a signature by each of the secrets."""
    timestamp = str(int(now.timestamp()))
    signed = b".".join([delivery_id.encode(), timestamp.encode(), body])
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(_signature(secret, signed) for secret in signing),
    }


def _signature(secret: bytes, signed: bytes) -> str:
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
