"""Event streams: how much 500 listeners slow submits, and how soon they hear of an event.

One API process on SQLite is loaded with submits, in turns without and with listeners, while a few
jobs a second are canceled: `python -m benchmarks.events [--rounds 5]`. Most listeners follow a job
of their own, as a client that waits does; ten follow all jobs. At the end all 500 follow all jobs.

The bound is on the API's CPU time for a submit, which depends less on other processes' load than
the rate does.
"""

import argparse
import asyncio
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Self

import httpx

from benchmarks import load
from benchmarks.api import BODY, CONNECTIONS, Server, server
from benchmarks.servers import KEY

LISTENERS = 500
DASHBOARDS = 10  # of these, to all jobs
GAP_SECONDS = (0.1, 0.3)  # between two events
# The bounds: of CPU time with listeners to that without, and from a commit to the client.
MAX_RATIO = 1.1
MAX_P50_MS = 50.0
_JSON = {"Content-Type": "application/json"}
_CANCELED = b'data: {"type":"job.canceled","timestamp":"'


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--listeners", type=int, default=LISTENERS)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="rushes-bench-") as folder,
        server("ours-sqlite", Path(folder), "") as api,
    ):
        result = asyncio.run(_measure(api, arguments))
    return _print(result, arguments.listeners)


@dataclass
class Submits:
    """Figures by round: submits a second, and the API's milliseconds of CPU time for one."""

    rates: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)


@dataclass
class Result:
    """Submits without and with listeners, and milliseconds from events to listeners."""

    alone: Submits = field(default_factory=Submits)
    together: Submits = field(default_factory=Submits)
    latencies: list[float] = field(default_factory=list)
    last_latencies: list[float] = field(default_factory=list)  # until the last of all has heard


class Listener:
    """One open stream. `heard` gets the latency of each event: to now, from just before its commit,
    by the service's clock on this machine."""

    def __init__(self, writer: asyncio.StreamWriter, task: asyncio.Task[None]) -> None:
        self._writer = writer
        self._task = task

    @classmethod
    async def open(cls, port: int, path: str, heard: list[float]) -> Self:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(load.request("GET", path, KEY))
        # What the stream begins with: its position, and of a job how it is.
        await reader.readuntil(b"id: " if path == "/v1/events" else b"event: job.queued")
        return cls(writer, asyncio.create_task(_read(reader, heard)))

    async def close(self) -> None:
        await _stop(self._task)
        self._writer.close()
        await self._writer.wait_closed()


async def _read(reader: asyncio.StreamReader, heard: list[float]) -> None:
    while line := await reader.readline():
        if line.startswith(_CANCELED):
            moment, _, _ = line[len(_CANCELED) :].partition(b'"')
            told_at = datetime.fromisoformat(moment.decode()).timestamp()
            heard.append((time.time() - told_at) * 1000)


async def _measure(api: Server, arguments: argparse.Namespace) -> Result:
    result, num_listeners = Result(), arguments.listeners
    url, headers = f"http://127.0.0.1:{api.port}", {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as client:

        async def load_with(num_listeners: int, submits: Submits) -> None:
            jobs = [await _submit(client) for _ in range(max(num_listeners, 100))]
            paths = ["/v1/events"] * min(DASHBOARDS, num_listeners)
            paths += [f"/v1/jobs/{job}/events" for job in jobs[: num_listeners - len(paths)]]
            listeners = [await Listener.open(api.port, path, result.latencies) for path in paths]
            canceling = asyncio.create_task(_cancel_jobs(client, jobs))
            # Unmeasured: 500 new connections at once cost a collection of garbage.
            await _load(api, arguments.seconds / 2, Submits())
            await _load(api, arguments.seconds, submits)
            await _stop(canceling)
            for listener in listeners:
                await listener.close()

        await load_with(0, Submits())  # a warm-up, not counted
        for number in range(arguments.rounds):
            turns = [(0, result.alone), (num_listeners, result.together)]
            for turn in turns if number % 2 else reversed(turns):
                await load_with(*turn)
        await _fan_out(client, num_listeners, result)
    return result


async def _load(api: Server, seconds: float, submits: Submits) -> None:
    post = load.request("POST", "/generate-video", KEY, BODY)
    before = _cpu_seconds(api.pid)
    posts = await load.run(api.port, CONNECTIONS, seconds, lambda: post)
    if posts.bad:
        raise SystemExit(f"a submit was answered {set(posts.bad)}")
    submits.rates.append(posts.rate)
    submits.cpu_ms.append((_cpu_seconds(api.pid) - before) / len(posts.seconds) * 1000)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _cancel_jobs(client: httpx.AsyncClient, jobs: list[str]) -> None:
    gaps = random.Random(7)
    for job in jobs:
        await asyncio.sleep(gaps.uniform(*GAP_SECONDS))
        (await client.post(f"/v1/jobs/{job}/cancel")).raise_for_status()


async def _fan_out(client: httpx.AsyncClient, num_listeners: int, result: Result) -> None:
    """Cancel jobs one after the other, each when all listeners to all jobs have heard the last."""
    port = client.base_url.port or 0
    heard: list[float] = []
    listeners = [await Listener.open(port, "/v1/events", heard) for _ in range(num_listeners)]
    for _ in range(20):
        heard.clear()
        (await client.post(f"/v1/jobs/{await _submit(client)}/cancel")).raise_for_status()
        while len(heard) < num_listeners:  # noqa: ASYNC110 - its clock is in `heard`
            await asyncio.sleep(0.001)
        result.last_latencies.append(max(heard))
    for listener in listeners:
        await listener.close()


async def _submit(client: httpx.AsyncClient) -> str:
    job = (await client.post("/generate-video", content=BODY, headers=_JSON)).raise_for_status()
    return str(job.json()["id"])


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _print(result: Result, num_listeners: int) -> int:
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, SQLite")
    alone, together = result.alone, result.together
    ratios = [b / a for a, b in zip(alone.cpu_ms, together.cpu_ms, strict=True)]
    ratio = statistics.median(ratios)
    for name, submits in ((f"with {num_listeners} listeners", together), ("alone", alone)):
        rate, cpu_ms = statistics.median(submits.rates), statistics.median(submits.cpu_ms)
        print(f"submits {name}: {rate:,.0f} a second, {cpu_ms:.2f} ms of CPU time")
    print(f"ratio of CPU time: {ratio:.2f} ({min(ratios):.2f}..{max(ratios):.2f})")
    p50 = _row("ms from a commit to its listener, under load", result.latencies)
    _row("ms until the last of all listeners has heard", result.last_latencies)
    misses = []
    if ratio > MAX_RATIO:
        misses.append(f"submits take {ratio:.2f} of the CPU time, more than {MAX_RATIO}")
    if p50 > MAX_P50_MS:
        misses.append(f"p50 is {p50:.0f} ms, more than {MAX_P50_MS:.0f}")
    for miss in misses:
        print("missed:", miss)
    print("all bounds hold" if not misses else f"{len(misses)} bounds missed")
    return 1 if misses else 0


def _row(name: str, values: list[float]) -> float:
    """Print percentiles, and return the p50."""
    p50, p99 = statistics.median(values), sorted(values)[int(0.99 * len(values))]
    print(f"{name:46}n {len(values):5}   p50 {p50:6.1f}   p99 {p99:6.1f}")
    return p50


if __name__ == "__main__":
    sys.exit(main())
