"""`make demo`: start the service, make one video with it, say where it is, stop the service."""

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
PROMPT = "A serene mountain landscape with flowing water"
RUSHES = [sys.executable, "-m", "service.cli.main"]
STOP_SECONDS = 30

# Whatever else is set belongs to a real service, whose database is none of the demo's business.
KEPT = ("RUSHES_MODELS", "RUSHES_WEIGHTS")


class Failed(Exception):
    """The demo ends here; the service's log says more."""


def main() -> int:
    for folder in (DATA, VIDEO.parent):
        folder.mkdir(parents=True, exist_ok=True)
    say(f"Starting a service of its own in {shown(DATA)} …")
    try:
        with service() as url:
            say(f'Making a video: "{PROMPT}"')
            job = make_video(url)
    except KeyboardInterrupt:
        say("Interrupted; the service is stopped.")
        return 130
    except Failed as failed:
        said = LOG.read_text(errors="replace").splitlines()[-30:]
        say(f"\nThe demo failed: {failed}.")
        if said:
            say("\n".join([f"The last lines of {shown(LOG)}:\n", *said]))
        return 1
    report(job)
    return 0


@contextmanager
def service() -> Iterator[str]:
    """A service on a free port, as its address; stopped at the end, and also when we are killed."""
    flags = ["--port", "0", "--data-dir", str(DATA), "--workers", "1", "--child"]
    with LOG.open("w") as log:
        process = subprocess.Popen(
            [*RUSHES, "up", *flags],
            cwd=DATA,  # not where a .env may lie
            env=environment(),
            stdin=subprocess.PIPE,  # closes when we end, and so ends it (--child)
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,  # Ctrl-C is for us
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
    raise Failed("the service did not start")


def make_video(url: str) -> dict[str, Any]:
    """The finished job; the progress bar is the command's own, on standard error."""
    command = f"video --url {url} --seconds 5 --width 768 --height 512 --force --json -o".split()
    made = subprocess.run(
        [*RUSHES, *command, str(VIDEO), PROMPT],
        cwd=DATA,
        env=environment() | {"RUSHES_DATA_DIR": str(DATA)},
        stdin=subprocess.DEVNULL,  # Ctrl-C ends the demo and asks nothing
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if made.returncode == 130:
        raise KeyboardInterrupt
    if made.returncode != 0:
        raise Failed(f"`rushes video` ended with {made.returncode}")
    job: dict[str, Any] = json.loads(made.stdout)
    return job


def report(job: dict[str, Any]) -> None:
    clip = job["result"]
    size = f"{clip['width']}x{clip['height']}, {clip['num_frames']} frames at {clip['fps']} fps"
    say(f"\nfile   {shown(VIDEO)}  ({size}, {clip['duration_seconds']:.2f} s)")
    say(f"job    {job['urls']['self']}  (on the service of this demo, which is stopped again)")
    if job["sandbox"]:
        say(f"model  {job['model']}, the sandbox: a placeholder with the prompt on it, nothing was")
        say("       generated. For real video: `make torch` on a machine with a GPU, and again.")
    else:
        say(f"model  {job['model']} on {job['gpu']}")
    say('next   `make up`, and in another terminal: .venv/bin/rushes video "…" -o clip.mp4')


def environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("RUSHES_") or k in KEPT}


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
