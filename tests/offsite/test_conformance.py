"""What every BlobStore and every KeyValue does: ours of Modal, and the doubles that tests use."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from dev.loopback_modal.harness import loopback_modal, unsupported_reason
from service.domain.errors import Unavailable
from service.offsite.on_modal import DictKeyValue, VolumeBlobStore
from service.offsite.ports import BlobStore, KeyValue
from tests.offsite.doubles import FolderBlobs, FolderEntries

Pair = tuple[BlobStore, KeyValue]

REASON = unsupported_reason()
KINDS = [
    "folder",
    pytest.param(
        "modal",
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(bool(REASON), reason=REASON),
        ],
    ),
]


@pytest.fixture(scope="module")
def on_modal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    import modal

    name = f"database-{uuid4().hex}"
    with loopback_modal(tmp_path_factory.mktemp("modal")) as cloud, cloud.client() as client:
        volume = modal.Volume.from_name(name, create_if_missing=True, version=2, client=client)
        entries = modal.Dict.from_name(name, create_if_missing=True, client=client)
        yield VolumeBlobStore(volume), DictKeyValue(entries)


@pytest.fixture(params=KINDS)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    if request.param == "modal":
        found: Pair = request.getfixturevalue("on_modal")
        return found
    return FolderBlobs(tmp_path / "blobs"), FolderEntries(tmp_path / "entries")


@pytest.fixture
def blobs(pair: Pair) -> BlobStore:
    return pair[0]


@pytest.fixture
def entries(pair: Pair) -> KeyValue:
    return pair[1]


def test_what_was_put_is_there_and_named(blobs: BlobStore) -> None:
    folder = uuid4().hex
    large = bytes(range(256)) * 40_000  # more than one of a Volume's blocks

    blobs.put(f"{folder}/a.db", large)
    blobs.put(f"{folder}/b.wal", b"")

    assert blobs.get(f"{folder}/a.db") == large
    assert blobs.get(f"{folder}/b.wal") == b""
    assert {f"{folder}/a.db", f"{folder}/b.wal"} <= set(blobs.names())


def test_what_is_not_there_is_none(blobs: BlobStore) -> None:
    assert blobs.get(f"{uuid4().hex}/a.db") is None


def test_a_put_that_is_sent_again_changes_nothing(blobs: BlobStore) -> None:
    name = f"{uuid4().hex}/a.db"

    blobs.put(name, b"one")
    blobs.put(name, b"one")

    assert blobs.get(name) == b"one"


def test_a_folder_is_deleted_with_all_that_is_in_it(blobs: BlobStore) -> None:
    gone, kept = uuid4().hex, uuid4().hex
    for folder in (gone, kept):
        blobs.put(f"{folder}/a.db", b"a")
        blobs.put(f"{folder}/b.wal", b"b")

    blobs.delete(gone)
    blobs.delete(gone)

    assert not any(name.startswith(f"{gone}/") for name in blobs.names())
    assert blobs.get(f"{kept}/a.db") == b"a"


def test_an_entry_is_created_once(entries: KeyValue) -> None:
    name = uuid4().hex

    assert entries.read(name) is None
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda n: entries.create(name, {"holder": n, "until": 1.5}), range(8)))

    assert sorted(told) == [False] * 7 + [True]
    assert entries.read(name) == {"holder": told.index(True), "until": 1.5}


def test_an_entry_is_written_over(entries: KeyValue) -> None:
    name = uuid4().hex
    entries.create(name, {"holder": "a", "until": 1.0})

    entries.write(name, {"holder": "a", "until": 2.0})

    assert entries.read(name) == {"holder": "a", "until": 2.0}


def test_a_modal_that_does_not_answer_is_unavailable() -> None:
    class Gone:
        def __getattr__(self, name: str) -> object:
            raise ConnectionError("refused")

    for act in (
        lambda: VolumeBlobStore(Gone()).names(),
        lambda: VolumeBlobStore(Gone()).put("a/b.db", b""),
        lambda: VolumeBlobStore(Gone()).get("a/b.db"),
        lambda: DictKeyValue(Gone()).read("a"),
        lambda: DictKeyValue(Gone()).create("a", {}),
    ):
        with pytest.raises(Unavailable):
            act()
