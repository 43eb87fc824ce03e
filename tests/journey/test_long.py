"""A long video of a real model, and the whole service killed in the middle of it."""

import io
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from service.domain.models.catalog import CARDS
from service.workers.adapters.base import Frames
from tests import make
from tests.journey.service import Running, running
from tests.tiny import build_ltx
from tests.workers.test_encode import decode

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc"),
]

CARD = CARDS["ltx-2b"]
assert CARD.clip_frames is not None
SEGMENTS = 3
FRAMES = CARD.clip_frames + (SEGMENTS - 1) * (CARD.clip_frames - CARD.overlap)
ASK = {"model": CARD.name, "width": 64, "height": 64, "num_frames": FRAMES, "seed": 3}


def test_a_service_that_is_killed_whole_goes_on_at_the_last_finished_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert CARD.count_segments(FRAMES) == SEGMENTS
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    weights = {CARD.name: str(build_ltx(tmp_path / "weights"))}
    settings: dict[str, Any] = {
        "models": [CARD.name],
        "weights": weights,
        "running_lease_seconds": 10,
    }
    with running(tmp_path / "up", **settings) as service:
        job_id = service.submit(**ASK)["id"]
        kept = until_kept(service, job_id, number=0)
        kill_whole(service)
    assert "segment loaded" not in service.log()

    with running(tmp_path / "up", **settings) as service:
        resumed = service.wait(job_id, seconds=240)
        log = service.log()
        whole = service.wait(service.submit(**ASK)["id"], seconds=240)
        shown = frames(resumed, tmp_path), frames(whole, tmp_path)
        last = last_frame(resumed), last_frame(whole)

    assert (resumed["status"], resumed["attempts"]) == ("succeeded", 2), log
    assert len(resumed["result"]["seams"]) == SEGMENTS - 1
    # Nothing that was finished is made again.
    found = [line for line in log.splitlines() if "segment loaded" in line and job_id in line]
    assert len(found) == kept
    assert 1 <= kept < SEGMENTS
    assert resumed["result"]["num_frames"] == whole["result"]["num_frames"] == FRAMES
    # The last frame is kept as it was made; ffmpeg need not code equal frames equally.
    assert np.array_equal(*last)
    assert np.abs(shown[0].astype(np.int16) - shown[1]).mean(axis=(1, 2, 3)).max() < 0.5


def until_kept(service: Running, job_id: str, *, number: int) -> int:
    """How many segments there are once the one of that number is one of them."""

    def there() -> int:
        folder = service.folder / "data" / "artifacts" / "jobs" / job_id
        return len(list(folder.glob("*/segments/*.json")))

    service.until(job_id, lambda job: there() > number, seconds=240)
    return there()


def kill_whole(service: Running) -> None:
    """The supervisor, the API and the worker at one moment, with all that they have started."""
    family = [service.process.pid]
    parents = {
        int(path.parent.name): int(path.read_text().rpartition(")")[2].split()[1])
        for path in Path("/proc").glob("[0-9]*/stat")
    }
    for pid in family:
        family += [child for child, parent in parents.items() if parent == pid]
    for pid in family:
        os.kill(pid, signal.SIGSTOP)  # none of them may do anything about another's death
    for pid in family:
        os.kill(pid, signal.SIGKILL)
    service.process.wait(30)


def frames(job: dict[str, Any], folder: Path) -> Frames:
    path = folder / f"{job['id']}.mp4"
    path.write_bytes(httpx.get(job["result"]["video_url"]).content)
    return decode(path, make.request(width=64, height=64))


def last_frame(job: dict[str, Any]) -> Any:
    content = httpx.get(job["result"]["last_frame_url"]).content
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture)
