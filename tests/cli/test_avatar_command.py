"""`rushes avatar`, and what the commands for jobs say of avatars, against a real service."""

import json
import re
import shlex
import signal
from pathlib import Path

import pytest

from tests.cli.conftest import Rushes
from tests.cli.test_video_command import wait_for

pytestmark = pytest.mark.slow

FACE = Path(__file__).parents[1] / "workers" / "puppet" / "data" / "presenter.png"
AVATAR = ("avatar", "--text", "Hello there.", "--image", str(FACE))


def test_captions_are_saved_beside_the_video(rushes: Rushes) -> None:
    made = rushes(*AVATAR, *"--captions vtt --width 256 --height 256 -o cap.mp4".split())
    (rushes.folder / "third.srt").write_text("mine")
    taken = rushes(*AVATAR, *"--captions srt -o third.mp4".split())

    assert made.returncode == 0, made.stderr
    assert [line.split()[:2] for line in made.stdout.splitlines()[:2]] == [
        ["saved", "cap.mp4"],
        ["saved", "cap.vtt"],
    ]
    assert (rushes.folder / "cap.vtt").read_text().startswith("WEBVTT")
    assert taken.stderr == "third.srt already exists; --force overwrites it\n"
    assert (rushes.folder / "third.srt").read_text() == "mine"


def test_the_line_that_ctrl_c_tells_saves_the_video_and_its_captions(rushes: Rushes) -> None:
    flags = ["--captions", "srt", "--width", "256", "--height", "256", "-o", "my clip.mp4"]
    (rushes.folder / "my clip.srt").write_text("an earlier one")
    key = (rushes.settings["data_dir"] / "api-key").read_text().strip()
    flags += ["--force", "--url", rushes.settings["url"], "--api-key", key]
    with rushes.start(*AVATAR, *flags) as avatar:
        job_id = wait_for(avatar.stderr, "job ").split()[1]
        wait_for(avatar.stderr, "0 %")
        avatar.send_signal(signal.SIGINT)
        _, told = avatar.communicate(timeout=20)
    line = re.search(r"fetch it: `(.*)`", told)
    assert line is not None, told

    assert key not in told

    for command in line[1].split(" && "):
        program, *words = (key if word == "KEY" else word for word in shlex.split(command))
        ran = rushes(*words, url="http://127.0.0.1:9", data_dir="none")
        assert (program, ran.returncode) == ("rushes", 0), ran.stderr

    assert job_id in line[1]
    assert sorted(path.name for path in rushes.folder.iterdir()) == ["my clip.mp4", "my clip.srt"]
    assert (rushes.folder / "my clip.srt").read_text().startswith("1\n00:00:0")


def test_an_avatar_is_shown_by_what_it_says(rushes: Rushes) -> None:
    flags = "--captions json --voice hibari-heart --seed 7 --width 256 --height 256 --json"
    job = json.loads(rushes(*AVATAR, *flags.split()).stdout)

    shown = rushes("status", job["id"]).stdout
    listed = rushes("jobs", "--limit", "1").stdout
    saved = rushes("download", job["id"], "--variant", "captions", "--force")

    lines = [line.split(maxsplit=1) for line in shown.splitlines()]
    assert ["text", "Hello there."] in lines
    assert ["voice", "hibari-heart"] in lines
    assert ["request", "256x256 at 25 fps, as long as the speech, seed 7"] in lines
    assert ["captions", job["result"]["captions_url"]] in lines
    assert "prompt" not in dict(lines)
    assert "Hello there." in listed
    assert saved.stdout == f"saved {job['id']}.json\n"
    assert json.loads((rushes.folder / f"{job['id']}.json").read_text())[0]["text"] == "Hello"
