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
