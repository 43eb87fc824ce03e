"""How much ten people at the admin pages slow down submits, in a store of many jobs.

Submits arrive at a steady rate. In each round it is measured without and with the viewers, whose
overviews refresh themselves as a browser's do, and who turn to another page every few seconds:
`python -m benchmarks.viewers --jobs 1000000 [--database-url postgresql://…]`.
"""

import argparse
import asyncio
import itertools
import multiprocessing
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from multiprocessing.synchronize import Event
from pathlib import Path

import httpx

from benchmarks import load
from benchmarks.api import BODY, server
from benchmarks.servers import KEY
from benchmarks.store import FIRST_SECRET, KEYS, fill
from service.store.database import Database
from service.store.schema import migrate

VIEWERS = 10
REFRESH_SECONDS = 3.0  # of the overview, in a browser
PAGES = ("/admin", "/admin/jobs", "/admin/models", "/admin/jobs?state=failed", "/admin/webhooks")
REFRESHES_PER_PAGE = 3  # of each viewer, before the next page
# Of the p95 of submits, by all viewers together.
MAX_RATIO = 1.1


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=20.0, help="submits a second")
    parser.add_argument("--database-url", help="an empty Postgres; default: SQLite")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rushes-bench-") as name:
        folder = Path(name)
        kind = "ours-postgres" if arguments.database_url else "ours-sqlite"
        url = arguments.database_url or f"sqlite:///{folder / kind / 'rushes.db'}"
        (folder / kind).mkdir()
        migrate(url)
        db = Database(url, lambda _: None)
        fill(db, url, arguments.jobs)
        db.close()
        print(f"{arguments.jobs:,} jobs of {KEYS} keys; {arguments.rate:g} submits a second")
        with server(kind, folder, arguments.database_url or "") as started:
            return measure(started.port, arguments.rounds, arguments.seconds, arguments.rate)


def measure(port: int, rounds: int, seconds: float, rate: float) -> int:
    """Print the p95 of both in each round; return whether their ratio is above the bound."""
    ratios = []
    for number in range(rounds):
        # In turn, as the machine's speed changes.
        order = (False, True) if number % 2 else (True, False)
        p95 = {
            is_watched: _round(port, seconds, rate, is_watched=is_watched) for is_watched in order
        }
        ratios.append(p95[True] / p95[False])
        print(f"  alone {p95[False]:6.2f} ms   watched {p95[True]:6.2f} ms   {ratios[-1]:.2f} x")
    ratio = statistics.median(ratios)
    print(f"p95 of submits with {VIEWERS} viewers: {ratio:.2f} x (median of {rounds})")
    if ratio > MAX_RATIO:
        print(f"missed: at most {MAX_RATIO:g} x")
    return int(ratio > MAX_RATIO)


def _round(port: int, seconds: float, rate: float, *, is_watched: bool) -> float:
    if not is_watched:
        return asyncio.run(_submit(port, seconds, rate))
    # In a process of their own: else they would slow down the measuring itself.
    context = multiprocessing.get_context("spawn")
    is_ready = context.Event()
    viewers = context.Process(target=_watch_all, args=(port, is_ready))
    viewers.start()
    try:
        is_ready.wait(60)
        return asyncio.run(_submit(port, seconds, rate))
    finally:
        viewers.kill()
        viewers.join()


async def _submit(port: int, seconds: float, rate: float) -> float:
    """Submit at a steady rate, whatever the answers take; return the p95 in milliseconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    post = load.request("POST", "/generate-video", FIRST_SECRET, BODY)
    times = []
    start = time.perf_counter()
    for number in range(int(seconds * rate)):
        due = start + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        sent = time.perf_counter()
        writer.write(post)
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 202 " not in head[:16]:
            raise SystemExit(head.decode())
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        times.append((time.perf_counter() - sent) * 1000)
    writer.close()
    return statistics.quantiles(times, n=20)[-1]


def _watch_all(port: int, is_ready: Event) -> None:
    asyncio.run(_watch_together(port, is_ready))


async def _watch_together(port: int, is_ready: Event) -> None:
    base = f"http://127.0.0.1:{port}"
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                httpx.AsyncClient(base_url=base, timeout=60, trust_env=False)
            )
            for _ in range(VIEWERS)
        ]
        for client in clients:
            login = await client.post("/admin/login", data={"key": KEY})
            if login.status_code != 303:
                raise SystemExit(f"the login was answered with {login.status_code}")
        is_ready.set()
        await asyncio.gather(*(_watch(client, number) for number, client in enumerate(clients)))


async def _watch(client: httpx.AsyncClient, number: int) -> None:
    """Look at one page after the other; the overview is asked for again while it is shown."""
    await asyncio.sleep(REFRESH_SECONDS * number / VIEWERS)
    for page in itertools.cycle(PAGES[number % len(PAGES) :] + PAGES[: number % len(PAGES)]):
        for path in (page, *["/admin/now"] * REFRESHES_PER_PAGE):
            (await client.get(path)).raise_for_status()
            await asyncio.sleep(REFRESH_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
