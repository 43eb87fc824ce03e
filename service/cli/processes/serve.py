"""The API process: one uvicorn server, on the supervisor's socket or its own."""

import gc
import os
import resource
import socket
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from service.app import build
from service.cli.processes.connections import Connections, raise_open_files
from service.cli.processes.http_protocol import HttpFactory
from service.cli.processes.pulse import beat
from service.domain.limits import max_connections
from service.runtime.notifier import Notifier
from service.settings import Settings


def serve(settings: Settings, socket_fd: int | None = None, pulse_fd: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then finish open requests and return. The event loop sends
    heartbeats on the pipe `pulse_fd`."""
    raise_open_files()
    app = build(settings)
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
