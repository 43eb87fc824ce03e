"""Signed URLs of videos, for players and renderers that send no API key."""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from service.domain.artifact import Variant
from service.domain.job import Job


@dataclass(frozen=True)
class SignedLinks:
    """Create and verify the links to a job. `secret` signs; `base` has no trailing slash."""

    secret: bytes
    base: str

    def job(self, job_id: str, action: str = "") -> str:
        return f"{self.base}/v1/jobs/{job_id}{action}"

    def content(self, job: Job, variant: Variant) -> str:
        """Return a link valid until the video expires; it never changes, so that caches work."""
        assert job.expires_at is not None, "only a finished job has content"
        expires = int(job.expires_at.timestamp())
        signature = self._sign(job.id, variant, expires)
        query = urlencode({"variant": variant, "expires": expires, "signature": signature})
        return f"{self.job(job.id, '/content')}?{query}"

    def matches(
        self, job_id: str, variant: Variant, expires: int, signature: str, now: datetime
    ) -> bool:
        own_signature = self._sign(job_id, variant, expires)
        return hmac.compare_digest(own_signature.encode(), signature.encode()) and (
            now.timestamp() < expires
        )

    def _sign(self, job_id: str, variant: Variant, expires: int) -> str:
        text = f"{job_id}\n{variant}\n{expires}".encode()
        return hmac.new(self.secret, text, hashlib.sha256).hexdigest()
