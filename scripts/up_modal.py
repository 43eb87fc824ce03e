"""`make up-modal`: run the Modal deployment on this machine, on an emulator of Modal.

No account is needed. The api, the tick and a class for each model run in Modal's own container
runtime (dev/loopback_modal), with SQLite on a Volume or a new Postgres, and random weights for
`ltx-2b`. Everything is deleted at the end.
"""

import argparse
import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dev.loopback_modal.harness import LoopbackModal, loopback_modal, unsupported_reason
from tests.servers import postgres_server

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "scripts" / "deploy_modal.py"


def main() -> int:
    options = parser().parse_args()
    if reason := unsupported_reason():
        say(f"containers need mount namespaces, which this machine refuses: {reason}")
        return 1
    signal.signal(signal.SIGTERM, interrupt)
    try:
        return serve(temporary_folder(), options)
    except KeyboardInterrupt:
        say("\nStopped.")
        return 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make up-modal", description=__doc__)
    parser.add_argument("--port", type=int, default=8788, help="of the emulator; 0: any free port")
    parser.add_argument("--postgres", action="store_true", help="use Postgres instead of SQLite")
    return parser


def temporary_folder() -> Path:
    """Create a folder that is deleted at exit, after the exit hook of Postgres' package, which
    writes a lock file to it."""
    folder = Path(tempfile.mkdtemp(prefix="rum", dir="/tmp"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def is_in_use(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def serve(folder: Path, options: argparse.Namespace) -> int:
    if is_in_use(options.port):
        say(
            f"port {options.port} is in use; stop the other process, or choose another port: "
            'make up-modal ARGS="--port 9000"'
        )
        return 1
    say(f"Starting {'Postgres and ' if options.postgres else ''}the emulator of Modal …")
    flags = ["--cron", "--port", str(options.port)]
    with ExitStack() as stack:
        database = stack.enter_context(postgres(folder)) if options.postgres else ""
        cloud = stack.enter_context(loopback_modal(folder / "modal", *flags))
        say("Building ltx-2b with random weights …")
        fill_weights(cloud, folder)
        cloud.env |= settings(folder, database)
        cwd = folder / "no-env"  # else `.env` of the current folder would be read
        cwd.mkdir()
        deploy = [sys.executable, str(DEPLOY)]
        status = subprocess.run(deploy, cwd=cwd, env=cloud.env, check=False)
        if status.returncode:
            return status.returncode
        say(f"\nContainers' logs: {cloud.state}/tasks/*/log.txt. Ctrl-C stops everything.")
        while True:
            time.sleep(3600)


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run a Postgres and yield its URL for containers."""
    place, private = folder / "db", folder / "run"
    place.mkdir()
    private.mkdir(mode=0o700)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(private))
    folder.chmod(0o755)  # the server runs as another user
    with postgres_server(place) as url:
        yield url.render_as_string(hide_password=False)


def settings(folder: Path, database: str) -> dict[str, str]:
    """Return the settings of the deployment; those of a real service are cleared."""
    values = {
        "RUSHES_DATABASE_URL": database,
        "RUSHES_DATA_DIR": str(folder / "kept"),
        "RUSHES_MODELS": '["slate", "ltx-2b"]',
        "RUSHES_WEIGHTS": '{"ltx-2b": "/weights/tiny"}',
        "RUSHES_WEBHOOKS_ALLOW_LOOPBACK": "1",
    }
    empty = {name: "" for name in os.environ if name.startswith("RUSHES_")}
    return empty | values


def fill_weights(cloud: LoopbackModal, folder: Path) -> None:
    """Build the weights in a child process, which hides the output of torch."""
    tiny = folder / "tiny"
    process = subprocess.run(
        [sys.executable, "-c", _BUILD, str(tiny)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        raise RuntimeError(process.stderr)
    cloud.modal("volume", "create", "rushes-weights")
    cloud.modal("volume", "put", "rushes-weights", str(tiny), "/tiny")


_BUILD = "import pathlib, sys, tests.tiny as tiny; tiny.build_ltx(pathlib.Path(sys.argv[1]))"


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
