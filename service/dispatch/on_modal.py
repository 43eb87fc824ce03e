"""Dispatcher for Modal: one call of the model's Cls for each attempt."""

import logging
from collections.abc import Callable
from typing import Any

from service.domain.attempt import Ticket
from service.domain.call import CallEnd, CallStatus, Pool
from service.domain.errors import Unavailable

log = logging.getLogger(__name__)

METHOD = "run"


def class_name(model: str) -> str:
    """Return the name of a model's Cls: `Ltx2b` for `ltx-2b`."""
    return "".join(part.capitalize() for part in model.replace(".", "-").split("-"))


class ModalDispatcher:
    """A Dispatcher for one deployed app. Its methods block; thread-safe."""

    def __init__(self, app_name: str, environment: str | None = None, client: Any = None) -> None:
        self._app_name = app_name
        self._place = {"environment_name": environment, "client": client}
        self._client = client

    def send(self, ticket: Ticket) -> str:
        """Spawn a call and return its id. After Unavailable the call may exist all the same: the
        worker's `begin` decides."""
        payload = ticket.model_dump(mode="json")
        call = self._with_method(ticket.request.model, lambda method: method.spawn(payload))
        return str(call.object_id)

    def pool(self, model: str) -> Pool:
        stats = self._with_method(model, lambda method: method.get_current_stats())
        return Pool(
            waiting=stats.backlog,
            running=stats.num_running_inputs,
            containers=stats.num_total_runners,
        )

    def kept_warm(self, model: str) -> int:
        settings = self._with_method(model, lambda method: method.autoscaler.settings())
        return settings.min_containers or 0

    def keep_warm(self, model: str, containers: int) -> None:
        self._with_method(model, lambda method: method.autoscaler.update(min_containers=containers))

    def _with_method(self, model: str, act: Callable[[Any], Any]) -> Any:
        """Call `act` with the model's remote method. Raises Unavailable."""
        import modal

        try:
            worker = modal.Cls.from_name(self._app_name, class_name(model), **self._place)
            return act(getattr(worker(), METHOD))
        except modal.exception.NotFoundError as error:
            raise Unavailable(
                f"no worker for {model} is deployed in {self._app_name}: {error}"
            ) from error
        except (modal.exception.Error, *_connection_errors(), OSError, TimeoutError) as error:
            raise Unavailable(f"Modal does not respond: {error!r}") from error

    def status(self, call_id: str) -> CallStatus:
        """Return the state of a call. Raises Unavailable if Modal does not respond."""
        import modal

        try:
            result = modal.FunctionCall.from_id(call_id, client=self._client).get(timeout=0)
        except (modal.exception.OutputExpiredError, modal.exception.NotFoundError):
            return "unknown"
        except modal.exception.FunctionTimeoutError:
            return "timed out"
        except _connection_errors() as error:
            raise Unavailable(f"Modal does not respond: {error!r}") from error
        except TimeoutError:
            # Python's own: the call has not ended. A worker that raised it would look alive for
            # ever, so workers catch everything (service/workers/call_worker.py).
            return "alive"
        except (Exception, SystemExit) as error:  # noqa: BLE001 - what ended the call comes out of it
            log.warning("call died", extra={"call": call_id, "error": type(error).__name__})
            return "died"
        try:
            return CallEnd.model_validate(result)
        except ValueError:
            log.error("result of a call is not valid", extra={"call": call_id})
            return "died"

    def cancel(self, call_id: str) -> None:
        """Cancel a call; a running one is interrupted and its container stays warm. Errors are only
        logged: the worker learns of the cancel by its next report."""
        import modal

        try:
            modal.FunctionCall.from_id(call_id, client=self._client).cancel()
        except Exception as error:  # noqa: BLE001
            log.warning(
                "call could not be canceled", extra={"call": call_id, "error": type(error).__name__}
            )


def _connection_errors() -> tuple[type[Exception], ...]:
    """Return errors of Modal's servers or of the connection, which say nothing about a call.
    No worker raises them."""
    from grpclib import GRPCError
    from grpclib.exceptions import ProtocolError, StreamTerminatedError
    from modal import exception

    return (
        GRPCError,
        ProtocolError,
        StreamTerminatedError,  # modal's client raises it as it is after a few tries
        exception.ClientClosed,
        exception.ConnectionError,
        exception.TimeoutError,
        exception.VersionError,
    )
