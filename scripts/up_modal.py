"""`make up-modal`: the whole deployment on this machine, on a stand-in for Modal's servers.

No account is needed. The api, the tick and a class for each model run in containers of Modal's own
runtime (dev/loopback_modal); the database is SQLite on a Volume, or a Postgres of its own; `ltx-2b`
has random weights. Everything is new at each start and gone at its end.
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

from dev.loopback_modal.harness import LoopbackModal, loopback_modal, why_not
from tests.servers import postgres_server

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "scripts" / "deploy_modal.py"


def main() -> int:
    given = parser().parse_args()
    if reason := why_not():
        say(f"containers need mounts of their own, which this machine refuses: {reason}")
        return 1
    signal.signal(signal.SIGTERM, interrupt)
    try:
        return serve(gone_at_exit(), given)
    except KeyboardInterrupt:
        say("\nStopped.")
        return 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make up-modal", description=__doc__)
    parser.add_argument("--port", type=int, default=8788, help="of the stand-in; 0: any free one")
    parser.add_argument("--postgres", action="store_true", help="in place of SQLite on a Volume")
    return parser


def gone_at_exit() -> Path:
    """A new folder. Postgres' package leaves a lock in it when Python exits, in a hook that was
    registered after this one and so runs before it."""
    folder = Path(tempfile.mkdtemp(prefix="rum", dir="/tmp"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def serve(folder: Path, given: argparse.Namespace) -> int:
    if taken(given.port):
        say(
            f"something listens on 127.0.0.1:{given.port} already; stop it, or use another port: "
            'make up-modal ARGS="--port 9000"'
        )
        return 1
    say(f"Starting {'Postgres and ' if given.postgres else ''}the stand-in for Modal …")
    flags = ["--cron", "--port", str(given.port)]
    with ExitStack() as until:
        database = until.enter_context(postgres(folder)) if given.postgres else ""
        cloud = until.enter_context(loopback_modal(folder / "modal", *flags))
        say("Building ltx-2b with random weights …")
        fill_weights(cloud, folder)
        cloud.env |= settings(folder, database)
        elsewhere = folder / "no-env"  # else a `.env` here would be read, down to its database
        elsewhere.mkdir()
        deploy = [sys.executable, str(DEPLOY)]
        status = subprocess.run(deploy, cwd=elsewhere, env=cloud.env, check=False)
        if status.returncode:
            return status.returncode
        say(f"\nContainers' logs: {cloud.state}/tasks/*/log.txt. Ctrl-C stops all of it.")
        while True:
            time.sleep(3600)


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Its address for containers, which find its socket where it is."""
    place, private = folder / "db", folder / "run"
    place.mkdir()
    private.mkdir(mode=0o700)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(private))
    folder.chmod(0o755)  # the server runs as a user of its own
    with postgres_server(place) as url:
        yield url.render_as_string(hide_password=False)


def settings(folder: Path, database: str) -> dict[str, str]:
    """Nothing of what is set for a real service belongs here."""
    ours = {
        "RUSHES_DATABASE_URL": database,
        "RUSHES_DATA_DIR": str(folder / "kept"),
        "RUSHES_MODELS": '["slate", "ltx-2b"]',
        "RUSHES_WEIGHTS": '{"ltx-2b": "/weights/tiny"}',
        "RUSHES_WEBHOOKS_ALLOW_LOOPBACK": "1",
    }
    others = {name: "" for name in os.environ if name.startswith("RUSHES_")}
    return others | ours


def fill_weights(cloud: LoopbackModal, folder: Path) -> None:
    """In a process of its own: what torch and its kin say at their start is of no concern here."""
    tiny = folder / "tiny"
    built = subprocess.run(
        [sys.executable, "-c", _BUILD, str(tiny)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        raise RuntimeError(built.stderr)
    cloud.modal("volume", "create", "rushes-weights")
    cloud.modal("volume", "put", "rushes-weights", str(tiny), "/tiny")


_BUILD = "import pathlib, sys, tests.tiny as tiny; tiny.build_ltx(pathlib.Path(sys.argv[1]))"


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
