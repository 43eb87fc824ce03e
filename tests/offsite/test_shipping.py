"""What is answered for is offsite, in one history, whatever goes wrong on the way."""

import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as StillWaiting
from concurrent.futures import wait
from contextlib import closing
from threading import Event
from typing import Any

import pytest
import sqlalchemy as sa

from service.domain.errors import Unavailable
from service.domain.ids import KeyId
from service.offsite.generations import Generation, read_names
from service.offsite.shipping import MAX_TAILS
from tests.offsite.world import LASTS, Node, World

SOFT = sa.text("UPDATE keys SET name = :name")


def until(holds: Callable[[], bool]) -> None:
    """What another thread does soon."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def rename(node: Node, name: str) -> Any:
    return node.db.write(lambda tx: tx.execute(SOFT, {"name": name}) and None, replicated=False)


def generations(world: World) -> set[Generation]:
    return {copy.generation for copy in read_names(world.blobs.names())}


def test_an_answered_submit_survives_its_container(world: World, node: Node, key: KeyId) -> None:
    acknowledged = {node.submit(key, f"n{i}") for i in range(5)}

    after = world.must_take("b", world.later())  # and nothing more is heard of the first

    assert after.jobs() == acknowledged


def test_each_kept_state_holds_what_was_answered_by_then(
    world: World, node: Node, key: KeyId
) -> None:
    acknowledged: list[str] = []
    states: list[tuple[set[str], set[str]]] = []
    for i in range(6):
        acknowledged.append(node.submit(key, f"n{i}"))
        states.append((set(world.blobs.names()), set(acknowledged)))

    for number, (names, expected) in enumerate(states):
        elsewhere = World(world.root / f"state-{number}", world.migrated)
        for name in names:
            elsewhere.blobs.blobs.put(name, world.blobs.blobs.get(name) or b"")
        found = elsewhere.must_take("x")
        assert found.jobs() == expected
        elsewhere.close()


def test_one_shipment_serves_all_that_wait_for_it(world: World, node: Node, key: KeyId) -> None:
    before = len(world.blobs.puts)
    world.blobs.open.clear()

    answers = [node.begin_submit(key, f"n{i}") for i in range(30)]
    until(lambda: len(node.db.read(lambda tx: tx.execute(COUNT).all())) == 30)
    assert not any(answer.done() for answer in answers)
    world.blobs.open.set()
    wait(answers, 30)

    assert len({answer.result().job.id for answer in answers}) == 30
    assert len(world.blobs.puts) - before <= 2


COUNT = sa.text("SELECT id FROM jobs")


def test_a_soft_change_waits_for_no_shipment(world: World, node: Node, key: KeyId) -> None:
    world.blobs.open.clear()
    hard = node.begin_submit(key, "n")

    rename(node, "soft").result(10)

    with pytest.raises(StillWaiting):
        hard.result(0.05)
    world.blobs.open.set()
    hard.result(30)


def test_a_change_of_nothing_waits_for_what_was_committed_before_it(
    world: World, node: Node, key: KeyId
) -> None:
    """So that an answer which rests on what was only read can be made as durable as that."""
    world.blobs.open.clear()
    hard = node.begin_submit(key, "n")
    until(lambda: len(node.db.read(lambda tx: tx.execute(COUNT).all())) == 1)

    looked = node.db.write(lambda tx: tx.execute(COUNT).all())

    with pytest.raises(StillWaiting):
        looked.result(0.2)
    world.blobs.open.set()
    assert len(looked.result(30)) == 1
    assert hard.done()


def test_whoever_no_longer_owns_the_database_neither_shows_nor_changes_anything(
    world: World, node: Node, key: KeyId
) -> None:
    node.submit(key, "n")
    world.clock.advance(2 * LASTS.total_seconds())

    with pytest.raises(Unavailable):
        node.db.read(lambda tx: tx.execute(COUNT).all())
    with pytest.raises(Unavailable):
        node.begin_submit(key, "late").result(0.5)
    with closing(sqlite3.connect(world.home("a").database)) as own:
        assert own.execute("SELECT count(*) FROM jobs").fetchone() == (1,)


def test_soft_changes_alone_are_not_shipped_but_go_with_the_next_and_at_the_end(
    world: World, node: Node, key: KeyId
) -> None:
    before = len(world.blobs.puts)
    rename(node, "one").result(10)
    assert len(world.blobs.puts) == before
    node.submit(key, "n")
    rename(node, "two").result(10)

    node.leave()
    world.nodes.remove(node)

    after = world.must_take("b")
    assert after.db.read(lambda tx: tx.execute(sa.text("SELECT name FROM keys")).scalar()) == "two"


def test_a_change_is_told_once_it_is_offsite(world: World, node: Node, key: KeyId) -> None:
    world.blobs.open.clear()
    node.told.clear()

    answer = node.begin_submit(key, "n")
    until(lambda: len(node.db.read(lambda tx: tx.execute(COUNT).all())) == 1)
    assert not node.told
    world.blobs.open.set()
    answer.result(30)

    assert "queue:slate" in node.told


def test_while_the_blob_store_is_away_nothing_is_answered_and_nothing_shown(
    world: World, node: Node, key: KeyId
) -> None:
    earlier = node.submit(key, "earlier")
    world.blobs.away = True

    with pytest.raises(Unavailable):
        node.submit(key, "n")
    with pytest.raises(Unavailable):
        node.jobs()

    world.blobs.away = False
    until(lambda: not node.tenure.shipping.is_behind)  # by itself
    until(lambda: "queue:slate" in node.told)
    again = node.submit(key, "n")
    assert node.jobs() == {earlier, again}
    assert world.must_take("b", world.later()).jobs() == {earlier, again}


def test_a_put_whose_answer_is_lost_breaks_no_history(world: World, node: Node, key: KeyId) -> None:
    acknowledged = {node.submit(key, "n0")}
    world.blobs.lose_answer = True
    with pytest.raises(Unavailable):
        node.submit(key, "n1")
    world.blobs.lose_answer = False

    acknowledged |= {node.submit(key, f"n{i}") for i in range(1, 5)}

    assert world.must_take("b", world.later()).jobs() == acknowledged


@pytest.mark.parametrize("moment", ["before_put", "after_put"])
def test_an_owner_that_is_followed_within_a_shipment_answers_for_nothing(
    world: World, node: Node, key: KeyId, moment: str
) -> None:
    acknowledged = {node.submit(key, "n0")}
    followers: list[Node] = []

    def follow() -> None:
        world.blobs.before_put = world.blobs.after_put = lambda: None
        followers.append(world.must_take("b", world.later()))

    setattr(world.blobs, moment, follow)
    with pytest.raises(Unavailable):
        node.submit(key, "late")

    (follower,) = followers
    assert len(follower.jobs() - acknowledged) == (moment == "after_put")
    acknowledged |= {follower.submit(key, "n1"), follower.submit(key, "late")}
    for work in (lambda: node.submit(key, "n2"), node.jobs):
        with pytest.raises(Unavailable):
            work()
    third = world.must_take("c", make_later(world))
    assert third.jobs() == acknowledged


def make_later(world: World) -> Any:
    clock = world.later()
    clock.advance(3600)
    return clock


def test_a_late_owner_that_ships_on_changes_no_history(
    world: World, node: Node, key: KeyId
) -> None:
    """It was held up for so long that two others came after it, and still puts its files."""
    acknowledged = {node.submit(key, "n0")}
    world.blobs.open.clear()
    putting = Event()
    world.blobs.before_put = putting.set
    late = node.begin_submit(key, "late")
    assert putting.wait(20)

    world.blobs, held_up = type(world.blobs)(world.blobs.blobs), world.blobs
    second = world.must_take("b", world.later())
    acknowledged.add(second.submit(key, "n1"))
    held_up.open.set()
    with pytest.raises(Unavailable):
        late.result(30)

    third = world.must_take("c", make_later(world))
    assert third.jobs() == acknowledged


def test_work_that_was_undone_is_not_restored(world: World, node: Node, key: KeyId) -> None:
    def spoil(tx: Any) -> None:
        tx.execute(SOFT, {"name": "spoiled"})
        raise RuntimeError("after a write")

    with pytest.raises(RuntimeError):
        node.db.write(spoil).result(10)
    acknowledged = {node.submit(key, "n")}

    after = world.must_take("b", world.later())
    assert after.jobs() == acknowledged
    assert after.db.read(lambda tx: tx.execute(sa.text("SELECT name FROM keys")).scalar()) == "test"


def test_bases_follow_each_other_and_old_ones_go(world: World, node: Node, key: KeyId) -> None:
    acknowledged = {node.submit(key, f"n{i}") for i in range(2 * MAX_TAILS + 20)}

    before, newest = sorted(generations(world))
    assert (before.epoch, newest) == (1, Generation(1, before.base + 1))
    assert newest.base >= 3
    assert world.must_take("b", world.later()).jobs() == acknowledged
    assert generations(world) == {newest, Generation(2, 1)}


def test_a_log_that_grew_large_is_followed_by_a_base(world: World, node: Node, key: KeyId) -> None:
    node.submit(key, "n0")
    for number in range(60):
        rename(node, f"{number}" * 50_000).result(10)
    node.submit(key, "n1")
    log = world.home("a").database.with_name("offsite.db-wal")
    assert not log.exists() or log.stat().st_size < 4_000_000
    assert max(generations(world)) == Generation(1, 2)


def test_a_container_without_the_ownership_touches_nothing(world: World, node: Node) -> None:
    before = set(world.blobs.names())

    assert world.take("b") is None

    assert set(world.blobs.names()) == before
    assert not world.home("b").database.exists()


def test_a_log_that_is_being_read_is_replaced_later(world: World, node: Node, key: KeyId) -> None:
    """A base needs an empty log, which a reader that stays holds up; the log may begin anew after
    it, under what was shipped."""
    acknowledged = {node.submit(key, "n0")}
    node.tenure.shipping.commit_failed()
    with closing(sqlite3.connect(world.home("a").database, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM jobs").fetchall()
        with pytest.raises(Unavailable):
            node.submit(key, "n1")

    acknowledged |= {node.submit(key, f"n{i}") for i in range(1, 6)}

    assert world.must_take("b", world.later()).jobs() == acknowledged


@pytest.mark.parametrize("how", ["emptied", "replaced"])
def test_a_file_that_was_lost_under_its_owner_answers_for_nothing(
    world: World, node: Node, key: KeyId, how: str
) -> None:
    acknowledged = node.submit(key, "one")
    file = world.root / "a" / "offsite.db"
    for end in ("-wal", "-shm"):
        file.with_name(file.name + end).unlink()
    if how == "replaced":
        file.unlink()  # the owner still has the old one open
    file.write_bytes(b"")

    with pytest.raises(Unavailable):
        node.submit(key, "two")

    assert world.must_take("b", world.later()).jobs() == {acknowledged}
