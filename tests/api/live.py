"""The service on a port of this process, for what a client sees of a response that goes on."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Queue
from typing import Any

import httpx
from fastapi import FastAPI

from service.app import build
from service.cli.processes.connections import Connections
from service.cli.processes.serve import Server, configure
from service.offsite.shipping import Replica
from service.runtime.runtime import Runtime
from service.settings import Settings
from tests.api.world import KEY, World


@dataclass
class Event:
    """A block of a stream: `data` is None where it only moves the position."""

    id: int | None = None
    kind: str | None = None
    data: dict[str, Any] | None = None

    @property
    def job(self) -> dict[str, Any]:
        assert self.data is not None
        job: dict[str, Any] = self.data["data"]
        return job


@dataclass
class Reader:
    """Reads one stream as the standard says. `position` is the last id, as EventSource keeps it."""

    response: httpx.Response
    position: int | None = None
    retries: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._events = self._read()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        return next(self._events)

    def _read(self) -> Iterator[Event]:
        event = Event()
        for line in self.response.iter_lines():
            name, _, text = line.partition(": ")
            if name == "id":
                event.id = self.position = int(text)
            elif name == "event":
                event.kind = text
            elif name == "data":
                event.data = json.loads(text)
            elif name == "retry":
                self.retries.append(int(text))
            elif not line and event != Event():
                yield event
                event = Event()

    def changes(self) -> Iterator[Event]:
        """The changes of state alone: what has an id and says something."""
        return (event for event in self if event.id is not None and event.data is not None)

    def of_kind(self, kind: str) -> Event:
        """The next event of this kind."""
        return next(event for event in self if event.kind == kind)


@dataclass
class Live(World):
    """A World whose client speaks to a port."""

    client: httpx.Client  # type: ignore[assignment]
    app: FastAPI
    server: Server
    loop: asyncio.AbstractEventLoop

    @property
    def runtime(self) -> Runtime:
        runtime: Runtime = self.app.state.runtime
        return runtime

    @contextmanager
    def stream(
        self, path: str = "/v1/events", after: int | None = None, **headers: str
    ) -> Iterator[Reader]:
        if after is not None:
            headers["Last-Event-ID"] = str(after)
        with self.client.stream("GET", path, headers=headers) as response:
            assert response.status_code == 200, response.read()
            yield Reader(response)

    def stop(self) -> None:
        """As SIGTERM does."""
        self.loop.call_soon_threadsafe(self.server.handle_exit, 15, None)


@contextmanager
def live(
    settings: Settings, connections: Connections | None = None, replica: Replica | None = None
) -> Iterator[Live]:
    connections = connections or Connections(1_000)
    app = build(settings, replica=replica)
    config = configure(app, connections, "127.0.0.1", 0)
    server = Server(config, app.state.notifier, connections)
    ready: Queue[tuple[asyncio.AbstractEventLoop, int]] = Queue()

    async def serve() -> None:
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.wait([task], timeout=0.01)
            assert not task.done(), "the service did not start"
        ready.put((asyncio.get_running_loop(), server.servers[0].sockets[0].getsockname()[1]))
        await task

    def run() -> None:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        loop, port = ready.get(timeout=60)
        headers = {"Authorization": f"Bearer {KEY}"}
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
            yield Live(client, app, server, loop)
    finally:
        server.should_exit = True
        thread.join(60)
