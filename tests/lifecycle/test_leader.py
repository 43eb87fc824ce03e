from service.lifecycle.leader import Leadership
from service.store.database import Database
from tests.make import FakeClock


def test_of_two_processes_one_has_the_turn(db: Database, clock: FakeClock) -> None:
    one, other = Leadership(db), Leadership(db)

    assert one.is_leader(clock())
    assert not other.is_leader(clock())
    for _ in range(20):
        assert one.is_leader(clock.advance(2))
        assert not other.is_leader(clock())


def test_a_turn_passes_on_when_its_holder_falls_silent(db: Database, clock: FakeClock) -> None:
    one, other = Leadership(db), Leadership(db)
    assert one.is_leader(clock())

    clock.advance(16)

    assert other.is_leader(clock())
    assert not one.is_leader(clock())


def test_a_turn_that_is_left_passes_on_at_once(db: Database, clock: FakeClock) -> None:
    one, other = Leadership(db), Leadership(db)
    assert one.is_leader(clock())

    one.leave()

    assert other.is_leader(clock())
    assert not one.is_leader(clock())


def test_a_clock_set_back_leaves_nobody_without_a_turn(db: Database, clock: FakeClock) -> None:
    one, other = Leadership(db), Leadership(db)
    assert one.is_leader(clock())

    clock.advance(-3600)

    assert other.is_leader(clock())
