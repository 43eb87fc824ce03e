"""Modal: a ticket is handed to a call of its model's Cls, and the call can be asked how it went."""

from collections.abc import Callable
from typing import Any

from service.domain.attempt import Ticket
from service.domain.call import CallEnd, Look, Pool
from service.domain.errors import Unavailable
from service.log import Log

log = Log(__name__)

METHOD = "run"


def class_name(model: str) -> str:
    """`ltx-2b` runs on the Cls `Ltx2b`."""
    return "".join(part.capitalize() for part in model.replace(".", "-").split("-"))


class ModalDispatcher:
    """A Dispatcher over one deployed app. Its methods block; threads may share it."""

    def __init__(self, app_name: str, environment: str | None = None, client: Any = None) -> None:
        self._app_name = app_name
        self._place = {"environment_name": environment, "client": client}
        self._client = client

    def send(self, ticket: Ticket) -> str:
        """Spawn a call; its id. Raises Unavailable, and then nobody knows whether there is one:
        the worker's `begin` decides."""
        told = ticket.model_dump(mode="json")
        call = self._of(ticket.request.model, lambda method: method.spawn(told))
        return str(call.object_id)

    def pool(self, model: str) -> Pool:
        stats = self._of(model, lambda method: method.get_current_stats())
        return Pool(
            waiting=stats.backlog,
            running=stats.num_running_inputs,
            containers=stats.num_total_runners,
        )

    def kept_warm(self, model: str) -> int:
        settings = self._of(model, lambda method: method.autoscaler.settings())
        return settings.min_containers or 0

    def keep_warm(self, model: str, containers: int) -> None:
        self._of(model, lambda method: method.autoscaler.update(min_containers=containers))

    def _of(self, model: str, act: Callable[[Any], Any]) -> Any:
        """Do something with the method that carries out this model's tickets."""
        import modal

        try:
            worker = modal.Cls.from_name(self._app_name, class_name(model), **self._place)
            return act(getattr(worker(), METHOD))
        except modal.exception.NotFoundError as error:
            raise Unavailable(
                f"no worker for {model} is deployed in {self._app_name}: {error}"
            ) from error
        except (modal.exception.Error, *_away(), OSError, TimeoutError) as error:
            raise Unavailable(f"Modal does not answer: {error!r}") from error

    def look(self, call_id: str) -> Look:
        """How a call stands. Raises Unavailable when Modal does not answer."""
        import modal

        try:
            told = modal.FunctionCall.from_id(call_id, client=self._client).get(timeout=0)
        except (modal.exception.OutputExpiredError, modal.exception.NotFoundError):
            return "unknown"
        except modal.exception.FunctionTimeoutError:
            return "timed out"
        except _away() as error:
            raise Unavailable(f"Modal does not answer: {error!r}") from error
        except TimeoutError:
            # Python's own: it has not ended. A worker must never raise one of these itself, or it
            # would look alive for ever; ours raise nothing (service/workers/call_worker.py).
            return "alive"
        except (Exception, SystemExit) as error:  # noqa: BLE001 - what ended the call comes out of it
            log.warning("call died", call=call_id, error=type(error).__name__)
            return "died"
        try:
            return CallEnd.model_validate(told)
        except ValueError:
            log.error("a call's answer cannot be read", call=call_id)
            return "died"

    def cancel(self, call_id: str) -> None:
        """A call that waits is gone; one that runs is interrupted, and its container stays warm.
        Errors are told and passed over: the worker hears of it by itself, if later."""
        import modal

        try:
            modal.FunctionCall.from_id(call_id, client=self._client).cancel()
        except Exception as error:  # noqa: BLE001
            log.warning("call could not be canceled", call=call_id, error=type(error).__name__)


def _away() -> tuple[type[Exception], ...]:
    """What tells of Modal itself, or of the way to it, and nothing of a call: what its servers
    answer to a request that fails, and a connection that is refused, breaks off or takes too long.
    No worker raises one of these."""
    from grpclib import GRPCError
    from grpclib.exceptions import ProtocolError, StreamTerminatedError
    from modal import exception

    return (
        GRPCError,
        ProtocolError,
        StreamTerminatedError,  # after a few tries modal's client lets it through as it is
        exception.ClientClosed,
        exception.ConnectionError,
        exception.TimeoutError,
        exception.VersionError,
    )
