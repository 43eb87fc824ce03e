"""`rushes video` against a real service: the file, the flags, what it refuses, how it is left."""

import json
import os
import re
import signal
import subprocess
from hashlib import sha256
from typing import IO

import pytest

from tests.cli.conftest import LONG, TINY, Rushes
from tests.workers.inputs.pictures import gradient, saved

pytestmark = pytest.mark.slow


def wait_for(stream: IO[str] | None, word: str) -> str:
    assert stream is not None
    return next(line for line in stream if word in line)


def test_a_prompt_becomes_a_file(rushes: Rushes) -> None:
    (rushes.folder / "new").mkdir()

    made = rushes("video", "A cat", *TINY, "-o", "new/clip.mp4")

    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("saved new/clip.mp4  (64x64, 4 frames at 24 fps")
    assert "the sandbox" in made.stdout
    assert "100 %  succeeded" in made.stderr
    assert [path.name for path in (rushes.folder / "new").iterdir()] == ["clip.mp4"]


def test_every_flag_arrives_and_json_is_the_job_alone(rushes: Rushes) -> None:
    flags = (
        "--model slate --fps 12 --steps 9 --guidance 2.5 --negative fog --seed 7 --priority high "
        "--timeout 99 --start-timeout 999 --metadata scene=3 --metadata note=a=b --json"
    )

    made = rushes("video", "A cat", *TINY, *flags.split())

    job = json.loads(made.stdout)
    assert job["input"] == {
        "kind": "video", "model": "slate", "prompt": "A cat", "prompts": None,
        "negative_prompt": "fog", "width": 64, "height": 64,
        "num_frames": 4, "fps": 12, "num_inference_steps": 9, "guidance_scale": 2.5, "seed": 7,
        "image": None, "last_image": None, "loop": False, "keyframes": None,
        "video": None, "strength": None, "keep_audio": None, "fit": None,
    }  # fmt: skip
    assert (job["status"], job["priority"]) == ("succeeded", "high")
    assert job["metadata"] == {"scene": "3", "note": "a=b"}
    file = rushes.folder / f"{job['id']}.mp4"
    assert sha256(file.read_bytes()).hexdigest() == job["result"]["sha256"]


def test_a_model_given_again_is_the_next_in_order(rushes: Rushes) -> None:
    made = rushes("video", "A cat", *TINY, "--model", "slate", "--model", "nope")

    assert made.returncode == 4
    assert "no model 'nope' here" in made.stderr


def test_pictures_and_films_are_files_or_jobs(rushes: Rushes) -> None:
    (rushes.folder / "first.png").write_bytes(saved(gradient(), "PNG"))
    (rushes.folder / "last.webp").write_bytes(saved(gradient(), "WEBP"))
    metadata = ("--metadata", "scene=3", "--metadata", "take=1")

    pictures = rushes(
        "video",
        "A cat",
        *TINY,
        *"--image first.png --last-image last.webp --json".split(),
        *metadata,
    )
    first = json.loads(pictures.stdout)
    loop = rushes("video", "A cat", *TINY, *f"--image {first['id']} --loop --json".split())
    film = rushes(
        "video", "A cat", *f"--video {first['id']} --strength 0.3 --fit pad --json".split()
    )
    with_file = rushes("video", "A cat", *TINY, "--video", f"{first['id']}.mp4", "--json")

    asked = first["input"]
    assert (first["status"], first["metadata"]) == ("succeeded", {"scene": "3", "take": "1"})
    assert (asked["num_frames"], asked["image"]["source"]) == (4, "upload")
    assert asked["last_image"]["media_type"] == "image/webp"
    assert json.loads(loop.stdout)["input"]["loop"] is True
    over = json.loads(film.stdout)
    assert (over["status"], over["input"]["video"]["job_id"]) == ("succeeded", first["id"])
    assert (over["input"]["strength"], over["input"]["fit"]) == (0.3, "pad")
    assert json.loads(with_file.stdout)["input"]["video"]["source"] == "upload"


def test_keyframes_are_files_jobs_or_both(rushes: Rushes) -> None:
    (rushes.folder / "boat.png").write_bytes(saved(gradient(), "PNG"))

    with_file = rushes("video", "A cat", *TINY, "--keyframe", "2=boat.png", "--json")
    first = json.loads(with_file.stdout)
    flags = f"--keyframe 1={first['id']} --keyframe 3=boat.png --json"
    both = json.loads(rushes("video", "A cat", *TINY, *flags.split()).stdout)
    job = json.loads(rushes("video", "A cat", *TINY, *flags.split()[:2], "--json").stdout)

    for made, expected in (
        (first, [(2, "upload")]),
        (both, [(1, "job"), (3, "upload")]),
        (job, [(1, "job")]),
    ):
        assert made["status"] == "succeeded"
        asked = made["input"]["keyframes"]
        assert [(one["frame"], one["image"]["source"]) for one in asked] == expected


def test_a_file_that_is_there_is_refused_before_anything_is_submitted(rushes: Rushes) -> None:
    kept = rushes.folder / "clip.mp4"
    kept.write_text("mine")
    submit = ("video", "A cat", *TINY, "-o", "clip.mp4")

    refused = rushes(*submit)

    assert refused.returncode == 2
    assert refused.stderr == "clip.mp4 already exists; --force overwrites it\n"  # and no job's id
    assert kept.read_text() == "mine"
    assert rushes(*submit, "--force").returncode == 0
    assert kept.read_bytes()[4:8] == b"ftyp"


def test_a_refused_request_tells_of_each_field_on_a_line(rushes: Rushes) -> None:
    refused = rushes("video", "A cat", "--width", "65", "--height", "3000")

    assert refused.returncode == 2
    first, second = refused.stderr.splitlines()
    assert "width" in first
    assert "height" in second
    assert refused.stdout == ""


def test_refusals_speak_of_the_flags_that_were_typed(rushes: Rushes) -> None:
    several = rushes("video", "A cat", "--steps", "0", "--seconds", "0")
    no_end = rushes("video", "", "--last-image", "https://example.com/a.png")
    avatar = ("avatar", "--image", "https://example.com/a.png")
    silent = rushes(*avatar)
    no_words = rushes(*avatar, "--audio", "https://example.com/a.mp3", "--captions", "vtt")
    no_date = rushes("usage", "--from", "2026-13-01")

    assert several.stderr == "--seconds: must be more than 0\n--steps: must be at least 1\n"
    assert no_end.stderr == "PROMPT: must not be empty\n"
    assert silent.stderr == "give --text or --audio\n"
    assert no_words.stderr == (
        "--captions with --audio also needs --text: the words that are spoken\n"
    )
    assert no_date.stderr == "--from: must be a date, such as 2026-11-30\n"


@pytest.mark.parametrize(
    ("flags", "code", "word"),
    [
        (["--model", "nope"], 4, "nope"),
        (["--metadata", "nope"], 2, "NAME=TEXT"),
        (["--no-wait", "-o", "clip.mp4"], 2, "--no-wait"),
        (["--last-image", "nowhere.png"], 2, "--last-image"),
        (["--keyframe", "nowhere.png"], 2, "FRAME=FILE"),
        (["--keyframe", "48=nowhere.png"], 2, "'nowhere.png' is no file"),
        (["--image", "http://example.com/a.png"], 2, "https://"),
    ],
)
def test_wrong_flags_are_told_apart(rushes: Rushes, flags: list[str], code: int, word: str) -> None:
    refused = rushes("video", "A cat", *flags)

    assert (refused.returncode, refused.stdout) == (code, "")
    assert word in refused.stderr


def test_ctrl_c_without_a_terminal_leaves_the_job_running(rushes: Rushes) -> None:
    url, key_file = rushes.settings["url"], rushes.settings["data_dir"] / "api-key"
    address = ("--url", url, "--api-key", key_file.read_text().strip())
    with rushes.start("video", "Long", *LONG, *address) as video:
        job_id = wait_for(video.stderr, "job ").split()[1]
        wait_for(video.stderr, "0 %")

        video.send_signal(signal.SIGINT)

        _, told = video.communicate(timeout=20)
    assert video.returncode == 130
    where = f"--url {url} --api-key KEY"
    assert f"`rushes status {job_id} {where}`" in told
    assert f"`rushes cancel {job_id} {where}`" in told
    assert f"`rushes download --wait {job_id} {where}`" in told
    assert json.loads(rushes("cancel", job_id, "--json").stdout)["cancel_requested_at"]


def test_a_job_that_is_canceled_meanwhile_ends_the_command_with_5(rushes: Rushes) -> None:
    with rushes.start("video", "Long", *LONG, "--json") as video:
        job_id = wait_for(video.stderr, "job ").split()[1]

        canceled = rushes("cancel", job_id)

        answer, told = video.communicate(timeout=20)
    assert canceled.returncode == 0
    assert (video.returncode, json.loads(answer)["status"]) == (5, "canceled")
    assert f"job {job_id} was canceled" in told
    assert rushes("download", job_id).returncode == 5
    assert list(rushes.folder.iterdir()) == []


def test_ctrl_c_on_a_terminal_asks_and_may_be_taken_back(rushes: Rushes) -> None:
    ours, theirs = os.openpty()
    with rushes.start("video", "Long", *LONG, stdin=theirs, stderr=theirs) as video:
        os.close(theirs)
        _answer(video, ours, b"keep\n")
        shown = _read_until(ours, b"generate, step")

        _answer(video, ours, b"y\n")
        told = _read_until(ours, b"is stopping")
        video.communicate(timeout=20)
    os.close(ours)
    assert b"%" in shown
    assert b"goes on" not in told
    assert video.returncode == 130


def _answer(video: subprocess.Popen[str], terminal: int, answer: bytes) -> None:
    _read_until(terminal, b"%")
    video.send_signal(signal.SIGINT)
    _read_until(terminal, b"[y/N/keep watching]")
    os.write(terminal, answer)


def _read_until(terminal: int, word: bytes) -> bytes:
    seen = b""
    while word not in seen:
        seen += os.read(terminal, 1024)
    return seen


def test_a_folder_that_is_not_there_is_told_before_anything_is_made(rushes: Rushes) -> None:
    refused = rushes("video", "A cat", *TINY, "-o", "typo/clip.mp4")

    assert (refused.returncode, refused.stderr) == (2, "no such folder: typo\n")
    assert not (rushes.folder / "typo").exists()


def test_a_file_that_cannot_be_written_is_told_in_one_line(rushes: Rushes) -> None:
    (rushes.folder / "clip.mp4.part").mkdir()

    refused = rushes("video", "A cat", *TINY, "-o", "clip.mp4")

    assert refused.returncode == 1
    *_, told, hint = refused.stderr.splitlines()
    assert told == "cannot write clip.mp4: Is a directory"
    assert re.fullmatch(r"the video is still there: rushes download job_\w+ -o ANOTHER_PLACE", hint)
    assert not (rushes.folder / "clip.mp4").exists()
