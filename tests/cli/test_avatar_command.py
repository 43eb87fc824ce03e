"""`rushes avatar`, and what the commands for jobs say of avatars, against a real service."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Rushes

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
