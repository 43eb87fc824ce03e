"""What Modal says of a call, read by the dispatcher. FunctionCall is a double here: no stand-in
raises all that an account's Modal may raise."""

from typing import Any

import modal
import pytest
from grpclib import GRPCError, Status
from grpclib.exceptions import ProtocolError, StreamTerminatedError
from modal import exception

from service.dispatch.on_modal import ModalDispatcher
from service.domain.call import CallEnd
from service.domain.errors import Unavailable

ANSWER = {"version": 1, "job_id": "job_1", "attempt": 1, "fence": 2, "begun": True}


class Call:
    """Raises or answers what the test put here."""

    gives: Any = None

    @classmethod
    def from_id(cls, call_id: str, client: Any = None) -> "Call":
        assert call_id == "fc-1"
        return cls()

    def get(self, timeout: float) -> Any:
        assert timeout == 0
        if isinstance(self.gives, BaseException):
            raise self.gives
        return self.gives


@pytest.fixture
def dispatcher(monkeypatch: pytest.MonkeyPatch) -> ModalDispatcher:
    monkeypatch.setattr(modal, "FunctionCall", Call)
    return ModalDispatcher("rushes")


@pytest.mark.parametrize(
    ("gives", "found"),
    [
        (TimeoutError(), "alive"),
        (exception.FunctionTimeoutError("as planned"), "timed out"),
        (exception.OutputExpiredError("as planned"), "unknown"),
        (exception.NotFoundError("as planned"), "unknown"),
        (exception.RemoteError("as planned"), "died"),
        (exception.InternalFailure("as planned"), "died"),
        (exception.ExecutionError("as planned"), "died"),
        (MemoryError(), "died"),
        (SystemExit(3), "died"),  # of a library in the worker: no reason for us to leave
        ({"error": "the call failed"}, "died"),
        (None, "died"),
    ],
    ids=repr,
)
def test_each_end_of_a_call_has_its_own_word(
    dispatcher: ModalDispatcher, monkeypatch: pytest.MonkeyPatch, gives: Any, found: str
) -> None:
    monkeypatch.setattr(Call, "gives", gives)

    assert dispatcher.status("fc-1") == found


AWAY = [
    *(
        kind("as planned")
        for kind in vars(exception).values()
        if isinstance(kind, type) and issubclass(kind, GRPCError) and kind.__name__[0] != "_"
    ),
    GRPCError(Status.UNKNOWN),
    ProtocolError(),
    StreamTerminatedError(),
    exception.ClientClosed(),
    exception.ConnectionError(),
    exception.TimeoutError(),  # not Python's own
    exception.VersionError(),
]


@pytest.mark.parametrize(
    "away", [each for each in AWAY if not isinstance(each, exception.NotFoundError)], ids=repr
)
def test_what_tells_of_modal_alone_says_nothing_of_the_call(
    dispatcher: ModalDispatcher, monkeypatch: pytest.MonkeyPatch, away: Exception
) -> None:
    monkeypatch.setattr(Call, "gives", away)

    with pytest.raises(Unavailable):
        dispatcher.status("fc-1")


def test_an_answer_is_read(dispatcher: ModalDispatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Call, "gives", ANSWER)

    assert dispatcher.status("fc-1") == CallEnd.model_validate(ANSWER)
