import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.artifacts.files import Files


@pytest.fixture
def store(tmp_path: Path) -> Files:
    return Files(tmp_path / "artifacts")


def put(store: Files, key: str, content: bytes, tmp_path: Path):  # type: ignore[no-untyped-def]
    source = tmp_path / "source"
    source.write_bytes(content)
    return store.put(key, source, "video/mp4")


def test_what_is_put_is_found_with_its_size_and_hash(store: Files, tmp_path: Path) -> None:
    artifact = put(store, "jobs/a/1/video.mp4", b"hello", tmp_path)

    assert artifact.size_bytes == 5
    assert artifact.sha256.startswith("2cf24dba5fb0a30e")
    path = store.path("jobs/a/1/video.mp4")
    assert path is not None
    assert path.read_bytes() == b"hello"
    assert [p.name for p in path.parent.iterdir()] == ["video.mp4"]


def test_what_was_never_put_is_not_there(store: Files) -> None:
    assert store.path("jobs/a/1/video.mp4") is None


def test_delete_takes_all_below_a_prefix_and_nothing_else(store: Files, tmp_path: Path) -> None:
    for key in ("jobs/a/1/video.mp4", "jobs/a/2/video.mp4", "jobs/b/1/video.mp4"):
        put(store, key, b"x", tmp_path)

    store.delete("jobs/a")
    store.delete("jobs/a")

    assert store.path("jobs/a/2/video.mp4") is None
    assert store.path("jobs/b/1/video.mp4") is not None


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "jobs/../../x", ".", ""])
def test_a_key_cannot_leave_the_folder(store: Files, key: str) -> None:
    with pytest.raises(ValueError, match="not an artifact key"):
        store.path(key)


def test_a_link_out_of_the_folder_is_not_followed(store: Files, tmp_path: Path) -> None:
    put(store, "jobs/a/1/video.mp4", b"x", tmp_path)
    (tmp_path / "secret").write_text("s")
    (tmp_path / "artifacts" / "jobs" / "out").symlink_to(tmp_path / "secret")

    with pytest.raises(ValueError, match="not an artifact key"):
        store.path("jobs/out")


@dataclass(frozen=True)
class Sync:
    """A file or folder that was synced, and the names of the target's folder at that moment."""

    node: int
    size: int
    names: frozenset[str]


@pytest.fixture
def syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Sync]:
    """Every sync from now on, in order, of a put or copy to jobs/a/1."""
    seen: list[Sync] = []
    sync, folder = os.fsync, tmp_path / "artifacts/jobs/a/1"

    def record(descriptor: int) -> None:
        sync(descriptor)
        found = os.fstat(descriptor)
        names = (
            frozenset(each.name for each in folder.iterdir()) if folder.exists() else frozenset()
        )
        seen.append(Sync(found.st_ino, found.st_size, names))

    monkeypatch.setattr(os, "fsync", record)
    return seen


def test_the_bytes_are_durable_before_they_have_their_name(
    store: Files, tmp_path: Path, syncs: list[Sync]
) -> None:
    put(store, "jobs/a/1/video.mp4", b"hello", tmp_path)

    named = tmp_path / "artifacts/jobs/a/1/video.mp4"
    of_bytes = [sync for sync in syncs if sync.node == named.stat().st_ino]
    assert [(sync.size, "video.mp4" in sync.names) for sync in of_bytes] == [(5, False)]


def test_the_name_is_durable_when_the_put_returns(
    store: Files, tmp_path: Path, syncs: list[Sync]
) -> None:
    put(store, "jobs/a/1/video.mp4", b"hello", tmp_path)

    folder = (tmp_path / "artifacts/jobs/a/1").stat().st_ino
    assert [sync.names for sync in syncs if sync.node == folder] == [{"video.mp4"}]


def test_each_new_folder_is_durable_in_the_one_above(
    store: Files, tmp_path: Path, syncs: list[Sync]
) -> None:
    def nodes(*names: str) -> set[int]:
        return {(tmp_path / name).stat().st_ino for name in names}

    put(store, "jobs/a/1/video.mp4", b"hello", tmp_path)
    first = {sync.node for sync in syncs}
    syncs.clear()
    assert store.copy("jobs/a/1/video.mp4", "inputs/b/image")
    copied = {sync.node for sync in syncs}

    assert nodes(".", "artifacts", "artifacts/jobs", "artifacts/jobs/a") <= first
    assert copied == nodes("artifacts", "artifacts/inputs", "artifacts/inputs/b")
