"""The API process: one uvicorn server, on a socket that its supervisor opened or on its own."""

import gc
import os
import socket
from types import FrameType

import uvicorn

from service.api.bell import Bell
from service.app import build
from service.cli.pulse import beat
from service.settings import Settings


def serve(settings: Settings, socket_fd: int | None = None, pulse_fd: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then answer what is under way and return. Meanwhile the event
    loop gives signs of life on the pipe `pulse_fd`."""
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
    if pulse_fd is not None:
        os.set_blocking(pulse_fd, False)
    _Server(config, app.state.bell, pulse_fd).run(sockets=sockets)


class _Server(uvicorn.Server):
    """Ends long polls as soon as it is told to stop: they would hold it up for a minute."""

    def __init__(self, config: uvicorn.Config, bell: Bell, pulse_fd: int | None) -> None:
        super().__init__(config)
        self._bell = bell
        self._pulse_fd = pulse_fd

    async def on_tick(self, counter: int) -> bool:
        if self._pulse_fd is not None:
            beat(self._pulse_fd)
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._bell.close()
        super().handle_exit(sig, frame)
