"""The way to Modal breaks off: nothing is known of a call then, least of all that it died. Seen by
Modal's own client, through a front door that takes connections and drops them."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from dev.loopback_modal.harness import LoopbackModal
from service.dispatch.on_modal import ModalDispatcher
from service.domain.errors import Unavailable
from tests.modal.conftest import MARKS

pytestmark = MARKS


class FrontDoor:
    """Hands bytes on to a server until it is shut; from then on it drops whoever comes."""

    def __init__(self, server: str) -> None:
        place = urlsplit(server)
        self._server = place.hostname, place.port
        self._ways: set[asyncio.StreamWriter] = set()
        self._shut = False
        self._over = asyncio.Event()
        self._open = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        self._open.wait()

    def shut(self) -> None:
        self._loop.call_soon_threadsafe(self._drop)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        door = await asyncio.start_server(self._handle, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{door.sockets[0].getsockname()[1]}"
        self._open.set()
        await self._over.wait()
        self._drop()
        door.close()
        for way in self._ways:
            with suppress(OSError):
                await way.wait_closed()

    def _drop(self) -> None:
        self._shut = True
        for way in self._ways:
            way.close()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ways.add(writer)
        if self._shut:
            await reader.read(1)
            writer.close()
            return
        answers, onward = await asyncio.open_connection(*self._server)
        self._ways.add(onward)
        await asyncio.gather(_pass_on(reader, onward), _pass_on(answers, writer))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
    writer.close()


@pytest.fixture
def door(cloud: LoopbackModal) -> Iterator[FrontDoor]:
    door = FrontDoor(cloud.env["MODAL_SERVER_URL"])
    yield door
    door.close()


def test_a_connection_that_is_dropped_says_nothing_of_a_call(
    cloud: LoopbackModal, door: FrontDoor
) -> None:
    with cloud.client(door.url) as client:
        dispatcher = ModalDispatcher("rushes", client=client)
        assert dispatcher.status("fc-of-nobody") == "unknown"

        door.shut()

        with pytest.raises(Unavailable, match="Modal does not respond"):
            dispatcher.status("fc-of-nobody")
        with pytest.raises(Unavailable, match="Modal does not respond"):
            dispatcher.pool("slate")
