"""What every ArtifactStore does, whatever it keeps the bytes in."""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.artifacts.files import Files
from service.artifacts.s3 import S3
from service.artifacts.spool import Spool
from service.artifacts.volume import MountedVolume, RemoteVolume
from service.domain.attempt import Artifact, ArtifactStore
from service.domain.errors import Unavailable
from tests.artifacts.doubles import FolderVolume
from tests.servers import S3Server, s3_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bucket() -> Iterator[S3Server]:
    with tempfile.TemporaryDirectory(prefix="rs3") as folder, s3_server(Path(folder)) as server:
        yield server


@dataclass
class StoredInput:
    """A store as workers write to it and as the API reads from it: the same one, or two."""

    writer: ArtifactStore
    reader: ArtifactStore
    scratch: Path

    def put(self, key: str, content: bytes, media_type: str = "video/mp4") -> Artifact:
        source = self.scratch / "source"
        source.write_bytes(content)
        return self.writer.put(key, source, media_type)

    def read(self, key: str) -> bytes | None:
        path = self.reader.path(key)
        return None if path is None else path.read_bytes()


def s3(server: S3Server, folder: Path) -> S3:
    """Under a prefix of its own, so that tests share the bucket."""
    return S3(server.client(), server.bucket, f"{folder.name}/", Spool(folder / "spool"))


@pytest.fixture(params=["files", "s3", "volume"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> StoredInput:
    if request.param == "files":
        files = Files(tmp_path / "artifacts")
        return StoredInput(files, files, tmp_path)
    if request.param == "volume":
        volume = FolderVolume(tmp_path / "volume")
        reader = RemoteVolume(volume, Spool(tmp_path / "spool"))
        return StoredInput(MountedVolume(volume.mount, volume), reader, tmp_path)
    store = s3(request.getfixturevalue("bucket"), tmp_path)
    return StoredInput(store, store, tmp_path)


def test_what_is_put_is_found_with_its_size_and_hash(kept: StoredInput) -> None:
    content = bytes(range(256)) * 300

    artifact = kept.put("jobs/a/1/video.mp4", content)

    assert artifact.size_bytes == len(content)
    assert artifact.sha256 == hashlib.sha256(content).hexdigest()
    assert artifact.media_type == "video/mp4"
    assert kept.read("jobs/a/1/video.mp4") == content
    assert not (kept.scratch / "source").exists()


def test_what_the_api_puts_the_workers_find(kept: StoredInput) -> None:
    """The other way round: what a job begins with."""
    source = kept.scratch / "source"
    source.write_bytes(b"a picture")

    artifact = kept.reader.put("inputs/a/image", source, "image/png")

    assert artifact.sha256 == hashlib.sha256(b"a picture").hexdigest()
    assert (artifact.size_bytes, artifact.media_type) == (9, "image/png")
    path = kept.writer.path("inputs/a/image")
    assert path is not None
    assert path.read_bytes() == b"a picture"
    assert not source.exists()
    assert kept.writer.path("inputs/a/video") is None


def test_a_copy_outlives_what_it_was_made_of(kept: StoredInput) -> None:
    kept.put("jobs/a/1/last_frame.png", b"the last frame", "image/png")

    assert kept.reader.copy("jobs/a/1/last_frame.png", "inputs/b/image")
    assert kept.reader.copy("jobs/a/1/last_frame.png", "inputs/b/image")  # again, after a crash
    assert not kept.reader.copy("jobs/a/1/other.png", "inputs/c/image")
    kept.reader.delete("jobs/a")

    assert kept.read("inputs/b/image") == b"the last frame"
    assert kept.read("jobs/a/1/last_frame.png") is None
    assert kept.reader.children("inputs/c") == []


def test_what_was_never_put_is_not_there(kept: StoredInput) -> None:
    kept.put("jobs/a/1/video.mp4", b"x")

    assert kept.read("jobs/a/1/other.mp4") is None
    assert kept.read("jobs/a/1") is None


def test_an_empty_artifact_is_one(kept: StoredInput) -> None:
    kept.put("jobs/a/1/video.mp4", b"")

    assert kept.read("jobs/a/1/video.mp4") == b""


def test_children_are_the_names_directly_below(kept: StoredInput) -> None:
    for key in ("jobs/a/1/video.mp4", "jobs/a/2/video.mp4", "jobs/a/2/x.png", "jobs/b/1/y.mp4"):
        kept.put(key, b"x")

    assert kept.reader.children("jobs") == ["a", "b"]
    assert kept.reader.children("jobs/a") == ["1", "2"]
    assert kept.reader.children("jobs/a/2") == ["video.mp4", "x.png"]
    assert kept.reader.children("jobs/c") == []


def test_a_worker_sees_the_names_that_others_made_since_it_began(kept: StoredInput) -> None:
    """Say the segments that an attempt before it finished elsewhere."""
    kept.put("jobs/a/1/segments/0.mp4", b"x")
    source = kept.scratch / "source"
    source.write_bytes(b"x")
    kept.reader.put("jobs/a/2/segments/0.mp4", source, "video/mp4")

    assert kept.writer.children("jobs/a") == ["1", "2"]


def test_what_a_worker_deletes_is_gone_for_all(kept: StoredInput) -> None:
    for name in ("0.mp4", "1.mp4"):
        kept.put(f"jobs/a/1/segments/{name}", b"x")
    kept.put("jobs/a/1/video.mp4", b"x")

    kept.writer.delete("jobs/a/1/segments")

    assert kept.reader.children("jobs/a/1/segments") == []
    assert kept.read("jobs/a/1/video.mp4") == b"x"


def test_delete_takes_all_below_a_prefix_and_nothing_else(kept: StoredInput) -> None:
    for key in ("jobs/a/1/video.mp4", "jobs/a/2/video.mp4", "jobs/ab/1/video.mp4"):
        kept.put(key, b"x")
    assert kept.read("jobs/a/2/video.mp4") == b"x"

    kept.reader.delete("jobs/a")
    kept.reader.delete("jobs/a")

    assert kept.read("jobs/a/2/video.mp4") is None
    assert kept.read("jobs/ab/1/video.mp4") == b"x"
    if not isinstance(kept.reader, S3):  # SeaweedFS goes on listing empty folders
        assert kept.reader.children("jobs") == ["ab"]
    assert kept.reader.children("jobs/a/1") == []


def test_a_long_clip_goes_up_in_parts_and_comes_back_whole(
    bucket: S3Server, tmp_path: Path
) -> None:
    store = s3(bucket, tmp_path)
    content = hashlib.sha256(b"seed").digest() * 1_200_000  # 38 MB: three parts
    source = tmp_path / "source"
    source.write_bytes(content)

    artifact = store.put("jobs/a/1/video.mp4", source, "video/mp4")

    key = f"{tmp_path.name}/jobs/a/1/video.mp4"
    head = bucket.client().head_object(Bucket=bucket.bucket, Key=key)
    assert head["ETag"].strip('"').endswith("-3")
    assert (head["ContentType"], head["ContentLength"]) == ("video/mp4", len(content))
    path = store.path("jobs/a/1/video.mp4")
    assert path is not None
    assert hashlib.sha256(path.read_bytes()).hexdigest() == artifact.sha256


def test_a_link_into_the_bucket_works_without_us_by_ranges_and_for_a_while(
    bucket: S3Server, tmp_path: Path
) -> None:
    store = s3(bucket, tmp_path)
    source = tmp_path / "source"
    source.write_bytes(b"0123456789")
    store.put("jobs/a/1/video.mp4", source, "video/mp4")
    hour = timedelta(hours=1)

    link = store.link("jobs/a/1/video.mp4", filename="clip.mp4", lifetime=hour)
    head = store.link("jobs/a/1/video.mp4", filename="clip.mp4", lifetime=hour, method="HEAD")

    assert link is not None
    assert head is not None
    part = httpx.get(link, headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, b"234")
    assert part.headers["content-type"] == "video/mp4"
    assert part.headers["content-disposition"] == 'inline; filename="clip.mp4"'
    assert httpx.head(head).headers["content-length"] == "10"
    assert httpx.get(link.replace("video.mp4", "other.mp4")).status_code == 403
    assert httpx.get(link.partition("?")[0]).status_code == 403
    assert "X-Amz-Expires=3600" in link


def test_a_bucket_that_clients_cannot_reach_has_no_links(bucket: S3Server, tmp_path: Path) -> None:
    store = S3(bucket.client(), bucket.bucket, "", Spool(tmp_path / "spool"), has_links=False)

    for method in ("GET", "HEAD"):
        lifetime = timedelta(hours=1)
        assert store.link("jobs/a/1/v", filename="v", lifetime=lifetime, method=method) is None


class Away:
    """A Volume's interface where Modal does not answer, in one of its many ways."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def act(*_: object, **__: object) -> None:
            raise ConnectionError("as planned")

        return act


def test_a_volume_that_is_away_is_unavailable(tmp_path: Path) -> None:
    reader, writer = (
        RemoteVolume(Away(), Spool(tmp_path / "spool")),
        MountedVolume(tmp_path, Away()),
    )
    for number in range(2):
        (tmp_path / f"source-{number}").write_bytes(b"x")

    for act in (
        lambda: reader.put("jobs/a/1/video.mp4", tmp_path / "source-0", "video/mp4"),
        lambda: reader.path("jobs/a/1/video.mp4"),
        lambda: reader.copy("jobs/a/1/video.mp4", "inputs/b/video"),
        lambda: reader.children("jobs"),
        lambda: reader.delete("jobs/a"),
        lambda: writer.put("jobs/a/1/video.mp4", tmp_path / "source-1", "video/mp4"),
        lambda: writer.path("inputs/b/video"),
        lambda: writer.children("jobs/a"),
        lambda: writer.delete("jobs/b"),
        lambda: writer.copy("jobs/a/1/video.mp4", "inputs/b/video"),
    ):
        with pytest.raises(Unavailable, match="the Volume"):
            act()
    assert (tmp_path / "source-0").exists()  # so that it can be tried again


def test_a_bucket_that_is_away_is_unavailable(tmp_path: Path) -> None:
    nobody = S3Server("http://127.0.0.1:9", "a", "b")
    store = S3(nobody.client(connect_timeout=1), "clips", "", Spool(tmp_path / "spool"))
    source = tmp_path / "source"
    source.write_bytes(b"x")

    for act in (
        lambda: store.put("jobs/a/1/video.mp4", source, "video/mp4"),
        lambda: store.path("jobs/a/1/video.mp4"),
        lambda: store.children("jobs"),
        lambda: store.delete("jobs/a"),
    ):
        with pytest.raises(Unavailable, match="the bucket"):
            act()
    assert source.exists()  # so that it can be tried again
