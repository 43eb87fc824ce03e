from datetime import timedelta

import pytest

from service.domain.attempt import FailureKind
from service.domain.retry import retry_wait


def test_transient_failures_wait_longer_each_time_and_end() -> None:
    waits = [retry_wait(FailureKind.TRANSIENT, left=3 - n, earlier=n - 1) for n in (1, 2, 3)]

    assert waits == [timedelta(seconds=5), timedelta(seconds=10), None]


def test_a_lost_worker_is_replaced_at_once_but_only_once() -> None:
    assert retry_wait(FailureKind.LOST, left=2, earlier=0) == timedelta(0)
    assert retry_wait(FailureKind.LOST, left=1, earlier=1) is None


@pytest.mark.parametrize(
    "kind", [FailureKind.USER, FailureKind.TIMEOUT, FailureKind.INTERNAL, FailureKind.CANCELED]
)
def test_what_would_fail_again_is_not_tried_again(kind: FailureKind) -> None:
    assert retry_wait(kind, left=2, earlier=0) is None
