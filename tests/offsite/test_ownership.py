"""Two containers, one database: who owns it, by their clocks and against their clocks."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from service.domain.errors import Unavailable
from service.offsite.ownership import Ownership
from tests.make import FakeClock
from tests.offsite.doubles import FolderEntries

LASTS = timedelta(seconds=15)


@dataclass
class Container:
    """One with a clock of its own, which may be wrong."""

    name: str
    entries: FolderEntries
    wall: FakeClock = field(default_factory=FakeClock)
    steady: float = 100.0

    def __post_init__(self) -> None:
        self.ownership = self.fresh()

    def fresh(self) -> Ownership:
        return Ownership(self.entries, self.name, self.wall, LASTS, lambda: self.steady)

    def wait(self, seconds: float) -> None:
        self.wall.advance(seconds)
        self.steady += seconds

    def take(self, min_epoch: int = 0) -> bool:
        self.ownership = self.fresh()
        return self.ownership.take(min_epoch)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Container, Container]:
    entries = FolderEntries(tmp_path)
    return Container("a", entries), Container("b", entries)


Pair = tuple[Container, Container]


def wait(pair: Pair, seconds: float) -> None:
    for container in pair:
        container.wait(seconds)


def test_one_of_two_owns_it(pair: Pair) -> None:
    first, second = pair

    assert (first.take(), second.take()) == (True, False)

    assert (first.ownership.is_owner, second.ownership.is_owner) == (True, False)


def test_of_two_that_begin_the_same_epoch_one_does(pair: Pair) -> None:
    first, second = pair
    create = first.entries.create
    told: list[bool] = []

    class Late(FolderEntries):
        def create(self, name, entry):  # type: ignore[no-untyped-def]
            told.append(first.take())  # between the look and the act of the second
            return create(name, entry)

    second.entries = Late(first.entries.root)

    assert not second.take()
    assert told == [True]


def test_an_owner_that_renews_keeps_it(pair: Pair) -> None:
    first, second = pair
    first.take()

    for _ in range(10):
        wait(pair, 5)
        first.ownership.renew()
        assert not second.take()

    assert first.ownership.is_owner


def test_one_that_cannot_renew_stops_before_another_may_begin(pair: Pair) -> None:
    first, second = pair
    first.take()

    wait(pair, 15)
    assert not first.ownership.is_owner
    assert not second.take(), "not within the margin"
    wait(pair, 5.1)

    assert second.take()
    assert second.ownership.epoch == first.ownership.epoch + 1


@pytest.mark.parametrize("skew", [-4.9, 4.9])
def test_clocks_that_differ_by_less_than_the_margin_do_no_harm(pair: Pair, skew: float) -> None:
    first, second = pair
    second.wall.advance(skew)
    first.take()
    waited = 0.0

    while not second.take():
        assert waited < 60
        wait(pair, 0.5)
        waited += 0.5

    assert not first.ownership.is_owner
    assert waited >= 15


def test_a_clock_far_off_takes_it_but_the_old_owner_answers_for_nothing_more(pair: Pair) -> None:
    first, second = pair
    second.wall.advance(3600)
    first.take()
    first.ownership.confirm()

    assert second.take()

    with pytest.raises(Unavailable):
        first.ownership.confirm()
    assert not first.ownership.is_owner
    second.ownership.confirm()


def test_what_has_run_out_is_not_renewed(pair: Pair) -> None:
    first, _ = pair
    first.take()

    wait(pair, 16)
    first.ownership.renew()

    assert not first.ownership.is_owner
    with pytest.raises(Unavailable):
        first.ownership.confirm()


def test_a_renewal_that_took_too_long_does_not_count(pair: Pair) -> None:
    first, second = pair
    first.take()

    class Slow(FolderEntries):
        def write(self, name, entry):  # type: ignore[no-untyped-def]
            wait(pair, 25)
            assert second.take()
            super().write(name, entry)

    first.ownership._entries = Slow(first.entries.root)
    wait(pair, 5)
    first.ownership.renew()

    assert not first.ownership.is_owner
    assert second.ownership.is_owner


def test_a_machine_that_was_put_to_sleep_no_longer_owns_it(pair: Pair) -> None:
    first, _ = pair
    first.take()

    first.wall.advance(3600)  # its steady clock stood still

    assert not first.ownership.is_owner


def test_what_is_released_can_be_taken_at_once(pair: Pair) -> None:
    first, second = pair
    first.take()

    first.ownership.release()

    assert not first.ownership.is_owner
    assert second.take()


def test_a_late_release_takes_nothing_from_the_next_owner(pair: Pair) -> None:
    first, second = pair
    first.take()
    wait(pair, 30)
    second.take()

    first.ownership.release()

    assert second.ownership.is_owner
    assert not first.take()


def test_an_epoch_follows_those_in_the_blobs_though_its_entry_is_gone(pair: Pair) -> None:
    first, second = pair

    assert first.take(min_epoch=57)
    assert not second.take(min_epoch=57)

    assert first.ownership.epoch == 58
