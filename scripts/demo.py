"""`make demo`: start the service, create a video and a presenter who speaks, and stop it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / ".rushes" / "demo"
LOG = DATA / "service.log"
VIDEO = ROOT / "out" / "demo.mp4"
PRESENTER = ROOT / "out" / "presenter.mp4"
PROMPT = "A serene mountain landscape with flowing water"
FACE = ROOT / "scripts" / "faces" / "anna.jpg"
TEXT = (
    "Hello, and welcome to Rushes. I was drawn by a program, and this voice was made on the same "
    "computer, without a graphics card. Send me your own words, or another face."
)
VIDEO_OPTIONS = "--seconds 5 --width 768 --height 512".split()
RUSHES = [sys.executable, "-m", "service.cli.main"]
STOP_SECONDS = 30

# Other settings belong to a real service, whose database the demo must not use.
PASSED = ("RUSHES_MODELS", "RUSHES_WEIGHTS")


class DemoError(Exception):
    """Ends the demo; the service's log says more."""


def main() -> int:
    for folder in (DATA, VIDEO.parent):
        folder.mkdir(parents=True, exist_ok=True)
    say(f"Starting a service in {relative(DATA)} …")
    try:
        with service() as url:
            say(f'Creating a video: "{PROMPT}"')
            video = make(url, VIDEO, "video", *VIDEO_OPTIONS, PROMPT)
            say(f'\nCreating a presenter: "{TEXT}"')
            presenter = make(
                url, PRESENTER, "avatar", "--seed=7", f"--image={FACE}", f"--text={TEXT}"
            )
    except KeyboardInterrupt:
        say("Interrupted; the service is stopped.")
        return 130
    except DemoError as error:
        tail = LOG.read_text(errors="replace").splitlines()[-30:]
        say(f"\nThe demo failed: {error}.")
        if tail:
            say("\n".join([f"The last lines of {relative(LOG)}:\n", *tail]))
        return 1
    report(video, presenter)
    return 0


@contextmanager
def service() -> Iterator[str]:
    """Run a service on a free port and yield its URL; it ends with this process."""
    flags = ["--port", "0", "--data-dir", str(DATA), "--workers", "1", "--child"]
    with LOG.open("w") as log:
        process = subprocess.Popen(
            [*RUSHES, "up", *flags],
            cwd=DATA,  # not a folder that may contain .env
            env=environment(),
            stdin=subprocess.PIPE,  # closes when this process ends (--child)
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,  # Ctrl-C reaches this process alone
        )
        try:
            yield address(process)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None, "it is a pipe"
    for line in process.stdout:
        word, _, url = line.strip().partition(" ")
        if word == "ready":
            return url
    raise DemoError("the service did not start")


def make(url: str, file: Path, command: str, *options: str) -> dict[str, Any]:
    """Run a command of `rushes` and return its job; its progress bar is on standard error."""
    common = ["--url", url, "--force", "--json", "-o", str(file)]
    process = subprocess.run(
        [*RUSHES, command, *common, *options],
        cwd=DATA,
        env=environment() | {"RUSHES_DATA_DIR": str(DATA)},
        stdin=subprocess.DEVNULL,  # Ctrl-C ends the demo without a question
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if process.returncode == 130:
        raise KeyboardInterrupt
    if process.returncode != 0:
        raise DemoError(f"`rushes {command}` ended with {process.returncode}")
    job: dict[str, Any] = json.loads(process.stdout)
    return job


def report(video: dict[str, Any], presenter: dict[str, Any]) -> None:
    say(f"\nfile   {described(VIDEO, video)}")
    if video["sandbox"]:
        say(f"       by {video['model']}, the sandbox: a placeholder with the prompt on it. Run")
        say("       `make torch` and `make demo` on a machine with a GPU for real video.")
    else:
        say(f"       by {video['model']} on {video['gpu']}")
    say(f"file   {described(PRESENTER, presenter)}")
    say(f"       by {presenter['model']}: {relative(FACE)} speaks, on the CPU")
    say('next   `make up`, and in another terminal: .venv/bin/rushes video "…" -o video.mp4')
    say('       or .venv/bin/rushes avatar --image scripts/faces/anna.jpg --text "…" -o hello.mp4')


def described(file: Path, job: dict[str, Any]) -> str:
    video = job["result"]
    size = f"{video['width']}x{video['height']}, {video['num_frames']} frames at {video['fps']} fps"
    return f"{relative(file)}  ({size}, {video['duration_seconds']:.2f} s)"


def environment() -> dict[str, str]:
    passed = {k: v for k, v in os.environ.items() if not k.startswith("RUSHES_") or k in PASSED}
    if models := json.loads(passed.get("RUSHES_MODELS") or "[]"):
        passed["RUSHES_MODELS"] = json.dumps([*models, *{"puppet"}.difference(models)])
    return passed


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
