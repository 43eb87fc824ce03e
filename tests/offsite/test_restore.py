"""Which copy is brought back: the newest that is whole, and never a beginning from nothing."""

from pathlib import Path

import pytest

from service.domain.errors import Unavailable
from service.domain.ids import KeyId
from service.offsite.generations import Copy, Generation, read_names, states
from service.offsite.restore import restore
from service.offsite.shipping import MAX_TAILS
from tests.offsite.doubles import FolderBlobs
from tests.offsite.world import Node, World


@pytest.fixture
def files(world: World, node: Node, key: KeyId) -> dict[int, Path]:
    """The files of the first generation by their number; five jobs, the last with tail 6."""
    for number in range(5):
        node.submit(key, f"n{number}")
    root = world.blobs.blobs.root
    return {copy.tail: root / copy.name for copy in read_names(world.blobs.names())}


def restored_jobs(world: World) -> int:
    return len(world.must_take("b", world.later()).jobs())


def test_where_nothing_was_kept_nothing_is_restored(tmp_path: Path) -> None:
    old = tmp_path / "offsite.db"
    old.write_bytes(b"of an earlier life")

    assert restore(FolderBlobs(tmp_path / "blobs"), old, 1) is None

    assert not old.exists()


def test_all_tails_are_restored(world: World, files: dict[int, Path]) -> None:
    assert max(files) == 6
    assert restored_jobs(world) == 5


@pytest.mark.parametrize(("number", "jobs"), [(6, 4), (4, 2), (2, 0)])
def test_a_tail_that_is_torn_ends_the_history(
    world: World, files: dict[int, Path], number: int, jobs: int
) -> None:
    content = files[number].read_bytes()
    files[number].write_bytes(content[: len(content) // 2])

    assert restored_jobs(world) == jobs


def test_a_tail_that_is_missing_ends_the_history(world: World, files: dict[int, Path]) -> None:
    files[4].unlink()

    assert restored_jobs(world) == 2


@pytest.mark.parametrize("damage", ["torn", "changed", "gone"])
def test_a_damaged_base_gives_way_to_the_generation_before(
    world: World, node: Node, key: KeyId, damage: str
) -> None:
    for number in range(MAX_TAILS + 3):
        node.submit(key, f"n{number}")
    copies = read_names(world.blobs.names())
    base = next(c for c in copies if c.generation == Generation(1, 2) and c.tail == 0)
    tails = sum(1 for c in copies if c.generation == Generation(1, 1) and c.tail)
    path = world.blobs.blobs.root / base.name
    content = path.read_bytes()

    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-5000] if damage == "torn" else b"\0" * 100 + content[100:])

    # All that the first generation's own tails hold; the key took the first of them.
    assert restored_jobs(world) == tails - 1


def test_a_base_that_is_whole_but_no_sound_database_gives_way(
    world: World, files: dict[int, Path]
) -> None:
    content = bytearray(files[0].read_bytes())
    content[100:30_000] = b"x" * 29_900
    broken = Copy.of(Generation(2, 1), 0, bytes(content))
    world.blobs.put(broken.name, bytes(content))
    world.entries.create("epoch-00000002", {"holder": "x", "until": 0})

    assert restored_jobs(world) == 5


def test_where_no_copy_is_sound_none_is_thrown_away(world: World, files: dict[int, Path]) -> None:
    files[0].write_bytes(b"nothing of the kind")
    before = set(world.blobs.names())

    with pytest.raises(Unavailable):
        world.take("b", world.later())

    assert set(world.blobs.names()) == before
    with pytest.raises(Unavailable):  # it is released, so that the next may try at once
        world.take("c", world.later())


def test_what_is_none_of_ours_or_half_written_is_passed_over(
    world: World, files: dict[int, Path]
) -> None:
    last = files[6].name
    for name in (f".{last}.part", "readme.txt", last.replace(".wal", ".tmp")):
        (files[6].parent / name).write_bytes(b"half")
    files[6].rename(files[6].parent / f".{last}")

    assert restored_jobs(world) == 4


def test_an_epoch_that_another_has_kept_something_under_is_not_ours(
    world: World, files: dict[int, Path], tmp_path: Path
) -> None:
    with pytest.raises(Unavailable):
        restore(world.blobs, tmp_path / "x.db", 1)


def test_states_are_ordered_by_epoch_then_base() -> None:
    places = [(1, 2), (2, 1), (1, 10), (10, 1)]
    copies = [Copy(Generation(*place), tail, "0" * 32) for place in places for tail in (0, 1)]

    found = [state[0].generation for state in states(sorted(copies))]

    assert found == [Generation(10, 1), Generation(2, 1), Generation(1, 10), Generation(1, 2)]
