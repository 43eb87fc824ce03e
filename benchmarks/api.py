"""Submit and poll over HTTP, against a FastAPI app without a database and a naive one.

In each round all servers are new, up at once, and loaded in turn; a ratio is taken within its
round, and the median over the rounds is printed: `python -m benchmarks.api [--rounds 5]`.
"""

import argparse
import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import load
from benchmarks.servers import KEY, SERVERS

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
# What must hold; POST p99 in milliseconds.
LEAST = {"POST": 0.15, "GET": 0.40}
MOST_P99 = 100.0


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=2.0)
    chosen = options.parse_args()
    return _print([_round(chosen.seconds) for _ in range(chosen.rounds)])


def _start(name: str, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.servers", name, str(port), str(folder)]
    process = subprocess.Popen(command)
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process, port
        time.sleep(0.05)
    raise SystemExit(f"{name} did not start")


def _round(seconds: float) -> dict[str, dict[str, load.Load]]:
    """Every server, new and empty, submits and polls."""
    with tempfile.TemporaryDirectory(prefix="rushes-bench-") as folder:
        servers = {name: _start(name, Path(folder)) for name in SERVERS}
        try:
            return {name: _measure(name, port, seconds) for name, (_, port) in servers.items()}
        finally:
            for process, _ in servers.values():
                process.kill()
                process.wait()


def _measure(name: str, port: int, seconds: float) -> dict[str, load.Load]:
    post = load.request("POST", "/generate-video", KEY, BODY)
    posts = asyncio.run(load.run(port, CONNECTIONS, seconds, lambda: post))
    ids = [json.loads(body)["id"] for body in posts.bodies[-200:]]
    polls = load.cycle([load.request("GET", f"/v1/jobs/{job}", KEY) for job in ids])
    gets = asyncio.run(load.run(port, CONNECTIONS, seconds, polls))
    if posts.bad or gets.bad:
        raise SystemExit(f"{name} answered {set(posts.bad + gets.bad)}")
    return {"POST": posts, "GET": gets}


def _print(rounds: list[dict[str, dict[str, load.Load]]]) -> int:
    print(f"{CONNECTIONS} connections, SQLite synchronous=FULL, {len(rounds)} rounds")
    print(f"{'':16}{'a second':>10}{'p50 ms':>9}{'p99 ms':>9}{'of ceiling':>12}{'of naive':>10}")
    missed = 0
    for name in SERVERS:
        for method in ("POST", "GET"):
            of = {
                other: statistics.median(
                    r[name][method].rate / r[other][method].rate for r in rounds
                )
                for other in ("ceiling", "naive")
            }
            middle = [r[name][method] for r in rounds]
            rate = statistics.median(m.rate for m in middle)
            p50 = statistics.median(m.percentile(0.5) for m in middle)
            p99 = statistics.median(m.percentile(0.99) for m in middle)
            print(
                f"{name:10}{method:6}{rate:10,.0f}{p50:9.1f}{p99:9.1f}"
                f"{of['ceiling']:12.2f}{of['naive']:10.1f}"
            )
            if name == "ours":
                missed += of["ceiling"] < LEAST[method] or of["naive"] < 2
                missed += method == "POST" and p99 > MOST_P99
    print("all bounds hold" if not missed else f"{missed} bounds missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
