"""The API process: one uvicorn server, on a socket that its supervisor opened or on its own."""

import gc
import socket
from types import FrameType

import uvicorn

from service.api.bell import Bell
from service.app import build
from service.settings import Settings


def serve(settings: Settings, socket_fd: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then answer what is under way and return."""
    app = build(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
        server_header=False,
    )
    # What was made so far lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    sockets = None if socket_fd is None else [socket.socket(fileno=socket_fd)]
    _Server(config, app.state.bell).run(sockets=sockets)


class _Server(uvicorn.Server):
    """Ends long polls as soon as it is told to stop: they would hold it up for a minute."""

    def __init__(self, config: uvicorn.Config, bell: Bell) -> None:
        super().__init__(config)
        self._bell = bell

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._bell.close()
        super().handle_exit(sig, frame)
