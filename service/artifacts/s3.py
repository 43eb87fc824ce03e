"""Artifact store in a bucket: S3, R2, or any other S3-compatible service."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from service.artifacts.spool import Spool
from service.domain.attempt import Artifact, ReadMethod
from service.domain.errors import Unavailable

_PART_BYTES = 16 * 1024 * 1024  # larger uploads are split into parts, several at once
_MAX_KEYS = 1000  # per request


class S3:
    """An ArtifactStore in a bucket. `prefix` precedes every key; it ends with a slash or is empty.
    Without `has_links`, clients cannot reach the bucket, and `link` returns None.
    All methods but `link` raise Unavailable when the bucket does not answer."""

    def __init__(
        self, client: Any, bucket: str, prefix: str, spool: Spool, *, has_links: bool = True
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._spool = spool
        self._has_links = has_links

    def put(self, key: str, source: Path, media_type: str) -> Artifact:
        """Upload `source`; durable on return, when the bucket has acknowledged every part."""
        from boto3.s3.transfer import TransferConfig

        artifact = Artifact.of_file(key, source, media_type)
        extra = {"ContentType": media_type, "Metadata": {"sha256": artifact.sha256}}
        parts = TransferConfig(
            multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, max_concurrency=4
        )
        with _raise_unavailable():
            self._client.upload_file(
                str(source), self._bucket, self._prefix + key, ExtraArgs=extra, Config=parts
            )
        source.unlink()
        return artifact

    def copy(self, key: str, target: str) -> bool:
        """Copy within the bucket, without downloading."""
        from botocore.exceptions import ClientError

        source = {"Bucket": self._bucket, "Key": self._prefix + key}
        try:
            with _raise_unavailable():
                self._client.copy(source, self._bucket, self._prefix + target)
        except ClientError as error:
            if _status(error) == 404:
                return False
            raise
        return True

    def path(self, key: str) -> Path | None:
        return self._spool.get(key, lambda file: self._fetch(key, file))

    def link(
        self, key: str, *, filename: str, lifetime: timedelta, method: ReadMethod = "GET"
    ) -> str | None:
        """Sign a URL locally; it is valid for GET or for HEAD, not for both."""
        if not self._has_links:
            return None
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
        with _raise_unavailable():
            for page in pages.paginate(Bucket=self._bucket, Prefix=folder, Delimiter="/"):
                names += [item["Key"] for item in page.get("Contents", [])]
                names += [item["Prefix"] for item in page.get("CommonPrefixes", [])]
        children = {name.removeprefix(folder).rstrip("/") for name in names}
        return sorted(children - {""})  # some servers list the folder itself

    def delete(self, prefix: str) -> None:
        self._spool.forget(prefix)
        keys: list[dict[str, str]] = []
        pages = self._client.get_paginator("list_objects_v2")
        with _raise_unavailable():
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix):
                keys += [
                    {"Key": item["Key"]}
                    for item in page.get("Contents", [])
                    if _is_below(item["Key"], self._prefix + prefix)
                ]
            for start in range(0, len(keys), _MAX_KEYS):
                batch = {"Objects": keys[start : start + _MAX_KEYS], "Quiet": True}
                answer = self._client.delete_objects(Bucket=self._bucket, Delete=batch)
                if answer.get("Errors"):
                    raise Unavailable(f"the bucket did not delete {len(answer['Errors'])} objects")

    def _fetch(self, key: str, file: Path) -> bool:
        from botocore.exceptions import ClientError

        try:
            with _raise_unavailable():
                self._client.download_file(self._bucket, self._prefix + key, str(file))
        except ClientError as error:
            if _status(error) == 404:
                return False
            raise
        return True


def _is_below(key: str, prefix: str) -> bool:
    """Compare whole path segments: `jobs/ab` is not below `jobs/a`."""
    return key == prefix or key.startswith(prefix.rstrip("/") + "/")


@contextmanager
def _raise_unavailable() -> Iterator[None]:
    """Turn connection errors and overload into Unavailable; refusals propagate."""
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
