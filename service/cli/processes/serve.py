"""The API process: one uvicorn server, on the supervisor's socket or its own."""

import gc
import logging
import os
import resource
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeAlias

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from service.app import build
from service.cli.exits import SAID_WHY, CannotStart
from service.cli.processes.connections import Connections, raise_open_files
from service.cli.processes.http_protocol import HttpFactory
from service.cli.processes.pulse import beat
from service.domain.errors import Unavailable
from service.domain.limits import max_connections
from service.runtime.notifier import Notifier
from service.settings import Settings


def serve(settings: Settings, socket_fd: int | None = None, pulse_fd: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then finish open requests and return. The event loop sends
    heartbeats on the pipe `pulse_fd`. Raises CannotStart where the settings cannot be served."""
    raise_open_files()
    with _in_one_line() as start:
        app = build(settings)
        app.router.lifespan_context = start.watched(app.router.lifespan_context)
        _serve(app, settings, socket_fd, pulse_fd)


def _serve(app: FastAPI, settings: Settings, socket_fd: int | None, pulse_fd: int | None) -> None:
    open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    connections = Connections(max_connections(open_files), settings.keep_alive_seconds)
    config = configure(app, connections, settings.host, settings.port)
    # Objects created so far live as long as the process: exclude them from garbage collection.
    gc.collect()
    gc.freeze()
    sockets = None if socket_fd is None else [socket.socket(fileno=socket_fd)]
    if pulse_fd is not None:
        os.set_blocking(pulse_fd, False)
    Server(config, app.state.notifier, connections, pulse_fd).run(sockets=sockets)


Lifespan: TypeAlias = Callable[[FastAPI], AbstractAsyncContextManager[Any]]


@dataclass
class _Start:
    """The start of an app, and the setting that it cannot be served with."""

    refusal: Unavailable | None = None

    def watched(self, lifespan: Lifespan) -> Lifespan:
        """Return a lifespan that notes why it was not entered."""

        @asynccontextmanager
        async def watched(app: FastAPI) -> AsyncIterator[None]:
            async with AsyncExitStack() as stack:
                try:
                    await stack.enter_async_context(lifespan(app))
                except Unavailable as error:
                    self.refusal = error
                    raise
                yield

        return watched


@contextmanager
def _in_one_line() -> Iterator[_Start]:
    """Raise CannotStart for Unavailable at the start, and drop uvicorn's traceback of it."""
    start = _Start()
    logging.getLogger("uvicorn.error").addFilter(lambda _: start.refusal is None)
    try:
        yield start
    except Unavailable as error:  # from `build`
        raise CannotStart(error.message, SAID_WHY) from None
    except SystemExit:
        if start.refusal is None:
            raise
        raise CannotStart(start.refusal.message, SAID_WHY) from None


def configure(app: ASGIApp, connections: Connections, host: str, port: int) -> uvicorn.Config:
    """Return uvicorn's settings for a server with these connections."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=HttpFactory(connections),  # type: ignore[arg-type]
        ws="none",
        timeout_keep_alive=connections.keep_alive_seconds,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
        server_header=False,
        proxy_headers=False,  # api/forwarded.py does it for trusted proxies
    )


class Server(uvicorn.Server):
    """Ends long polls as soon as it is stopped, and closes connections past their deadline."""

    def __init__(
        self,
        config: uvicorn.Config,
        notifier: Notifier,
        connections: Connections,
        pulse_fd: int | None = None,
    ) -> None:
        super().__init__(config)
        self._notifier = notifier
        self._connections = connections
        self._pulse_fd = pulse_fd

    async def on_tick(self, counter: int) -> bool:
        """Run uvicorn's tick, which comes ten times a second."""
        if self._pulse_fd is not None:
            beat(self._pulse_fd)
        if counter % 10 == 0:
            self._connections.sweep()
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._notifier.close()
        super().handle_exit(sig, frame)
