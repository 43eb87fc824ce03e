"""A service under steady load for a while: `python -m tests.chaos.soak --minutes 15`.

Some 50 submits a second of the smallest `slate` video, polls and lists beside them, most jobs
canceled again (two cores cannot make 50 videos a second), and a worker killed now and then. What
must hold: no error answer but 429, and after the first minute neither the API's memory nor its open
files grow by more than a tenth.
"""

import argparse
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.journey.service import Running, running

ASK = {"prompt": "a red ball", "width": 64, "height": 64, "num_frames": 2}
SUBMITS_A_SECOND = 50
MAX_QUEUED = 200  # more than that is canceled
FINE = {200, 202, 204, 304, 429}
MAX_GROWTH = 0.10


@dataclass
class Soak:
    service: Running
    api: int  # its process id
    until: float
    answers: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    ids: deque[str] = field(default_factory=lambda: deque(maxlen=5_000))
    samples: list[tuple[float, int, int]] = field(default_factory=list)
    kills: int = 0

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until

    def ask(self, client: httpx.Client, method: str, path: str, **values: object) -> httpx.Response:
        answer = client.request(method, path, **values)  # type: ignore[arg-type]
        self.answers[f"{method} {answer.status_code}"] += 1
        if answer.status_code not in FINE:
            self.errors.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        return answer

    def submit(self, client: httpx.Client) -> None:
        began, sent = time.monotonic(), 0
        while not self.over:
            answer = self.ask(client, "POST", "/generate-video", json=ASK)
            if answer.status_code == 202:
                self.ids.append(answer.json()["id"])
            sent += 1
            time.sleep(max(0.0, began + 2 * sent / SUBMITS_A_SECOND - time.monotonic()))

    def poll(self, client: httpx.Client) -> None:
        while not self.over:
            if self.ids:
                self.ask(client, "GET", f"/v1/jobs/{random.choice(self.ids)}")
            if random.random() < 0.05:
                self.ask(client, "GET", "/v1/jobs?limit=20&status=succeeded")
            time.sleep(0.01)

    def cancel(self, client: httpx.Client) -> None:
        while not self.over:
            queued = client.get("/health").json()["queue"]["queued"]
            waiting = self.ask(client, "GET", "/v1/jobs?limit=100&status=queued").json()["data"]
            for job in waiting[: max(0, queued - MAX_QUEUED)]:
                self.ask(client, "POST", f"/v1/jobs/{job['id']}/cancel")
            time.sleep(0.05)

    def kill(self, client: httpx.Client) -> None:
        while not self.over:
            time.sleep(random.uniform(10, 30))
            if workers := self.service.children("worker"):
                os.kill(random.choice(workers), signal.SIGKILL)
                self.kills += 1

    def sample(self, client: httpx.Client) -> None:
        began = time.monotonic()
        while not self.over:
            pages = int(Path(f"/proc/{self.api}/statm").read_text().split()[1])
            files = len(list(Path(f"/proc/{self.api}/fd").iterdir()))
            self.samples.append(
                (time.monotonic() - began, pages * os.sysconf("SC_PAGESIZE"), files)
            )
            time.sleep(2)

    def run(self) -> None:
        acts = (self.submit, self.submit, self.poll, self.cancel, self.kill, self.sample)
        threads = [threading.Thread(target=self._guarded, args=(act,)) for act in acts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _guarded(self, act) -> None:  # type: ignore[no-untyped-def]
        headers = dict(self.service.client.headers)
        url = self.service.client.base_url
        with httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False) as client:
            try:
                act(client)
            except Exception as error:  # noqa: BLE001
                self.errors.append(f"{act.__name__}: {error!r}")

    def growth(self, column: int) -> tuple[float, float, float]:
        """Of memory (1) or files (2): the median of the minute after the first, and of the last,
        and their ratio."""
        last = self.samples[-1][0]
        early = [s[column] for s in self.samples if 60 <= s[0] < 120] or [self.samples[0][column]]
        late = [s[column] for s in self.samples if s[0] >= last - 60]
        first, end = statistics.median(early), statistics.median(late)
        return first, end, end / first - 1


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--minutes", type=float, default=15)
    minutes = options.parse_args().minutes
    with (
        tempfile.TemporaryDirectory(prefix="rushes-soak-") as folder,
        running(Path(folder), "--workers", "2", running_lease_seconds=5) as service,
    ):
        (api,) = service.children("api")
        soak = Soak(service, api, time.monotonic() + minutes * 60)
        soak.run()
        alive = service.children("api") == [api]
        return _judge(soak, alive)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the point of it


def _judge(soak: Soak, alive: bool) -> int:
    memory, files = soak.growth(1), soak.growth(2)
    for what, count in sorted(soak.answers.items()):
        _say(f"{what}: {count}")
    _say(f"workers killed: {soak.kills}")
    _say(f"memory of the API: {memory[0] / 1e6:.1f} MB, at the end {memory[1] / 1e6:.1f} MB")
    _say(f"its open files: {files[0]:.0f}, at the end {files[1]:.0f}")
    wrong = [*soak.errors[:10]]
    if not alive:
        wrong.append("the API has been started again")
    if memory[2] > MAX_GROWTH or files[2] > MAX_GROWTH:
        wrong.append(f"it grew: memory by {memory[2]:.0%}, files by {files[2]:.0%}")
    _say("\n".join(wrong) if wrong else "all bounds hold")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
