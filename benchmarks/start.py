"""CPU time of the API from its first import to its first response, against a bare FastAPI app.

Both answer one request in a new process, in alternating order. CPU time does not depend on other
processes' load. The median of the rounds' ratios is printed:
`python -m benchmarks.start [--rounds 5]`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

MAX_RATIO = 2.5  # the bound

_ANSWER = """
import asyncio, time
import httpx

async def answer(app):
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            assert (await client.get("/livez")).status_code == 200

asyncio.run(answer(app))
print(time.process_time())
"""
_OURS = """
from service.app import build
from service.settings import Settings
from service.store.schema import migrate

settings = Settings(_env_file=None, models=["slate"], worker_token="t" * 30)
migrate(settings.database_url)
app = build(settings)
"""
_BARE = """
import sqlmodel
from fastapi import FastAPI

app = FastAPI()
app.get("/livez")(lambda: {"status": "ok"})
"""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    programs = {"ours": _OURS + _ANSWER, "bare": _BARE + _ANSWER}
    rounds: list[dict[str, float]] = []
    for number in range(-1, arguments.rounds):
        order = list(programs)[:: -1 if number % 2 else 1]
        seconds = {name: _seconds(programs[name]) for name in order}
        if number >= 0:  # the first round compiles the modules
            rounds.append(seconds)
    ratios = [seconds["ours"] / seconds["bare"] for seconds in rounds]
    ours, bare = (statistics.median(seconds[name] for seconds in rounds) for name in programs)
    ratio = statistics.median(ratios)
    print(
        f"first answer after {ours:.2f} s of processor time, a bare FastAPI app's after "
        f"{bare:.2f}: {ratio:.2f} ({min(ratios):.2f}..{max(ratios):.2f}), {len(ratios)} rounds"
    )
    is_missed = ratio > MAX_RATIO
    print(f"missed: more than {MAX_RATIO}" if is_missed else f"the bound holds: {MAX_RATIO}")
    return int(is_missed)


def _seconds(program: str) -> float:
    with tempfile.TemporaryDirectory(prefix="rushes-bench-") as folder:
        environment = {**os.environ, "RUSHES_DATA_DIR": folder, "PYTHONPATH": str(Path.cwd())}
        output = subprocess.check_output(
            [sys.executable, "-c", program], env=environment, text=True
        )
    return float(output.splitlines()[-1])


if __name__ == "__main__":
    sys.exit(main())
