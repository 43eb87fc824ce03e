"""Artifacts in a bucket: S3, R2, or whatever else speaks its language."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from service.artifacts.spool import Spool
from service.domain.artifact import Artifact
from service.domain.errors import Unavailable
from service.domain.ports import ReadMethod

_PART_BYTES = 16 * 1024 * 1024  # uploads larger than this go in parts, several at once
_MAX_KEYS = 1000  # in one deletion


class S3:
    """An ArtifactStore over a bucket. `prefix` goes before every key, and ends with a slash or is
    empty. A bucket that does not answer is Unavailable."""

    def __init__(self, client: Any, bucket: str, prefix: str, spool: Spool) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._spool = spool

    def put(self, key: str, source: Path, media_type: str) -> Artifact:
        """Durable when it returns: the bucket has acknowledged every part."""
        from boto3.s3.transfer import TransferConfig

        with source.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size_bytes = source.stat().st_size
        extra = {"ContentType": media_type, "Metadata": {"sha256": sha256}}
        parts = TransferConfig(
            multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, max_concurrency=4
        )
        with _available():
            self._client.upload_file(
                str(source), self._bucket, self._prefix + key, ExtraArgs=extra, Config=parts
            )
        source.unlink()
        return Artifact(key=key, media_type=media_type, size_bytes=size_bytes, sha256=sha256)

    def copy(self, key: str, target: str) -> bool:
        """Within the bucket: the bytes do not come here."""
        from botocore.exceptions import ClientError

        source = {"Bucket": self._bucket, "Key": self._prefix + key}
        try:
            with _available():
                self._client.copy(source, self._bucket, self._prefix + target)
        except ClientError as error:
            if _status(error) == 404:
                return False
            raise
        return True

    def path(self, key: str) -> Path | None:
        return self._spool.get(key, lambda place: self._fetch(key, place))

    def link(
        self, key: str, *, filename: str, lifetime: timedelta, method: ReadMethod = "GET"
    ) -> str | None:
        """Signed here and without asking the bucket; good for GET or for HEAD, not for both."""
        url: str = self._client.generate_presigned_url(
            "get_object" if method == "GET" else "head_object",
            Params={
                "Bucket": self._bucket,
                "Key": self._prefix + key,
                "ResponseContentDisposition": f'inline; filename="{filename}"',
            },
            ExpiresIn=int(lifetime.total_seconds()),
        )
        return url

    def children(self, prefix: str) -> list[str]:
        folder = f"{self._prefix}{prefix}/"
        pages = self._client.get_paginator("list_objects_v2")
        names: list[str] = []
        with _available():
            for page in pages.paginate(Bucket=self._bucket, Prefix=folder, Delimiter="/"):
                names += [one["Key"] for one in page.get("Contents", [])]
                names += [one["Prefix"] for one in page.get("CommonPrefixes", [])]
        found = {name.removeprefix(folder).rstrip("/") for name in names}
        return sorted(found - {""})  # some servers list the folder itself

    def delete(self, prefix: str) -> None:
        self._spool.forget(prefix)
        keys: list[dict[str, str]] = []
        pages = self._client.get_paginator("list_objects_v2")
        with _available():
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix):
                keys += [
                    {"Key": found["Key"]}
                    for found in page.get("Contents", [])
                    if _below(found["Key"], self._prefix + prefix)
                ]
            for start in range(0, len(keys), _MAX_KEYS):
                some = {"Objects": keys[start : start + _MAX_KEYS], "Quiet": True}
                answer = self._client.delete_objects(Bucket=self._bucket, Delete=some)
                if answer.get("Errors"):
                    raise Unavailable(f"the bucket kept {len(answer['Errors'])} objects")

    def _fetch(self, key: str, place: Path) -> bool:
        from botocore.exceptions import ClientError

        try:
            with _available():
                self._client.download_file(self._bucket, self._prefix + key, str(place))
        except ClientError as error:
            if _status(error) == 404:
                return False
            raise
        return True


def _below(key: str, prefix: str) -> bool:
    """`jobs/a` is not below `jobs/ab`, nor the other way round."""
    return key == prefix or key.startswith(prefix.rstrip("/") + "/")


@contextmanager
def _available() -> Iterator[None]:
    """A bucket that is away or overloaded is Unavailable; one that refuses us is a fault."""
    from boto3.exceptions import S3UploadFailedError
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        if _status(error) >= 500 or _status(error) == 429:
            raise Unavailable(f"the bucket does not answer: {error}") from error
        raise
    except (BotoCoreError, S3UploadFailedError) as error:
        raise Unavailable(f"the bucket does not answer: {error}") from error


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
