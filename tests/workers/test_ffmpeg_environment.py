"""ffmpeg reads files of strangers: a fault in it must not give a worker's tokens away."""

import sys
from pathlib import Path

import imageio_ffmpeg
import pytest

from service.artifacts.files import Files
from service.domain.attempt import input_key
from service.domain.media import MediaRef
from service.domain.models.catalog import SLATE
from service.workers.adapters.slate import Slate
from service.workers.recipe import WorkerEnvironment, make_video
from tests import make

CARD = SLATE.model_copy(update={"clip_frames": 5, "overlap": 2})


@pytest.mark.skipif(sys.platform == "win32", reason="its stand-in is a shell script")
def test_no_ffmpeg_process_inherits_the_environment_of_its_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts = Files(tmp_path / "artifacts")
    ticket = make.ticket(card=CARD, request=make.request(num_frames=12))
    plain = WorkerEnvironment(artifacts, tmp_path)
    make_video(ticket, Slate(CARD), plain, "jobs/first/1", lambda *_: None)
    video = tmp_path / "artifacts" / "jobs/first/1/video.mp4"
    artifacts.put(input_key(ticket.job_id, "video"), video, "video/mp4")
    seen = tmp_path / "seen"
    ffmpeg = tmp_path / "ffmpeg"
    real = imageio_ffmpeg.get_ffmpeg_exe()
    ffmpeg.write_text(f'#!/bin/sh\necho "$*" >> {seen}\nenv >> {seen}\nexec {real} "$@"\n')
    ffmpeg.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(ffmpeg))
    monkeypatch.setenv("RUSHES_WORKER_TOKEN", "a-token-of-the-worker")

    asked = make.request(num_frames=12, video=MediaRef(source="upload"), strength=0.5)
    again = ticket.model_copy(update={"request": asked})
    make_video(again, Slate(CARD), plain, "jobs/second/1", lambda *_: None)

    told = seen.read_text()
    for stage in ("rawvideo", "concat", "-frames:v 1", "-codec_whitelist"):
        assert stage in told, f"{stage}: not every stage ran"
    assert "a-token-of-the-worker" not in told
    assert "HOME=" not in told
