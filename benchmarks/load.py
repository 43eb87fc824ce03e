"""A cheap closed-loop HTTP/1.1 load generator with prebuilt requests."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass
class Load:
    """The results of one round: latencies in seconds, bodies of successes, statuses of failures."""

    seconds: list[float] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    bad: list[int] = field(default_factory=list)
    total_seconds: float = 0.0

    @property
    def rate(self) -> float:
        return len(self.seconds) / self.total_seconds

    def percentile(self, share: float) -> float:
        """Return a percentile of the latencies in milliseconds; `share` is 0 to 1."""
        latencies = sorted(self.seconds)
        return latencies[min(len(latencies) - 1, int(share * len(latencies)))] * 1000


def request(method: str, path: str, key: str, body: bytes = b"") -> bytes:
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def run(
    port: int, connections: int, seconds: float, next_request: Callable[[], bytes]
) -> Load:
    """Send requests on each connection, the next as soon as the last one is answered."""
    load = Load()
    start = time.perf_counter()
    end = start + seconds
    await asyncio.gather(*(_connection(port, end, next_request, load) for _ in range(connections)))
    load.total_seconds = time.perf_counter() - start
    return load


async def _connection(port: int, end: float, next_request: Callable[[], bytes], load: Load) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while (start := time.perf_counter()) < end:
        writer.write(next_request())
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        body = await reader.readexactly(length)
        load.seconds.append(time.perf_counter() - start)
        status = int(head[9:12])
        if status < 300:
            load.bodies.append(body)
        else:
            load.bad.append(status)
    writer.close()
    await writer.wait_closed()


def cycle(requests: list[bytes]) -> Callable[[], bytes]:
    iterator: Iterator[bytes] = itertools.cycle(requests)
    return lambda: next(iterator)
