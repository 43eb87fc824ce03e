from service.lifecycle.leader import Leadership
from service.store.database import Database
from tests.make import FakeClock


def test_of_two_processes_one_has_the_turn(db: Database, clock: FakeClock) -> None:
    one, other = Leadership(db), Leadership(db)

    assert one.ours(clock())
    assert not other.ours(clock())
    for _ in range(20):
        assert one.ours(clock.advance(2))
        assert not other.ours(clock())


def test_a_turn_passes_on_when_its_holder_falls_silent(db: Database, clock: FakeClock) -> None:
    one, other = Leadership(db), Leadership(db)
    assert one.ours(clock())

    clock.advance(16)

    assert other.ours(clock())
    assert not one.ours(clock())


def test_a_turn_that_is_left_passes_on_at_once(db: Database, clock: FakeClock) -> None:
    one, other = Leadership(db), Leadership(db)
    assert one.ours(clock())

    one.leave()

    assert other.ours(clock())
    assert not one.ours(clock())


def test_a_clock_set_back_leaves_nobody_without_a_turn(db: Database, clock: FakeClock) -> None:
    one, other = Leadership(db), Leadership(db)
    assert one.ours(clock())

    clock.advance(-3600)

    assert other.ours(clock())
