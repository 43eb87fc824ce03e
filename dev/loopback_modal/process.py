"""One container as one local process of Modal's own runtime."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from modal_proto import api_pb2 as pb

from dev.loopback_modal.blobs import Images, Mounts
from dev.loopback_modal.cloud import Cloud
from dev.loopback_modal.records import App, Container
from dev.loopback_modal.secret_store import Secrets
from dev.loopback_modal.volumes import Volumes

# A container starts without the caller's environment: what it needs must be in a Secret or image.
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
ENTER = Path(__file__).parent / "enter.py"


class Launcher:
    def __init__(
        self,
        cloud: Cloud,
        rooms: tuple[Images, Mounts, Secrets, Volumes],
        layout: Callable[[App], pb.AppLayout],
    ) -> None:
        self.cloud = cloud
        self.images, self.mounts, self.secrets, self.volumes = rooms
        self.layout = layout

    async def launch(self, container: Container) -> asyncio.subprocess.Process:
        """Starts the process; it dies with this one, and leads a process group of its own."""
        root = self.mounts.materialised(container.function.mount_ids)
        self.write_arguments(container)
        mounts = await self.volumes.check_out(container)
        plan = {"parent": os.getpid(), "home": str(root / "root"), "root": str(root)}
        plan |= {
            "mounts": mounts,
            "new_root": str(self.cloud.folder("tasks", container.id, "fs")),
            "hidden": [*hidden(), OWN_DISK],
        }
        plan |= {"kept": [sys.prefix, sys.base_prefix, str(self.cloud.state)]}
        runtime = [sys.executable, "-m", "modal._container_entrypoint"]
        enter = [sys.executable, "-S", "-E", str(ENTER), json.dumps(plan), *runtime]
        with container.log.open("wb") as log:
            return await asyncio.create_subprocess_exec(
                *namespace(),
                *enter,
                env=self.environment(container, root),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def clean(self, container: Container) -> None:
        """Removes what a container leaves behind, but for its log."""
        await self.volumes.discard(container)

    def write_arguments(self, container: Container) -> None:
        app = container.pool.app
        arguments = pb.ContainerArguments(
            task_id=container.id,
            function_id=container.pool.id,
            app_id=app.id,
            function_def=container.function,
            app_layout=self.layout(app),
            serialized_params=container.pool.parameters,
            environment_name="main",
        )
        (container.folder / "arguments.bin").write_bytes(arguments.SerializeToString())
        (container.folder / "app").write_text(app.id)

    def environment(self, container: Container, root: Path) -> dict[str, str]:
        env = {name: os.environ[name] for name in KEPT if name in os.environ}
        env |= self.images.environment(container.function.image_id)
        env |= self.secrets.environment(container.function.secret_ids)
        return env | {
            "MODAL_SERVER_URL": self.cloud.grpc_url,
            "MODAL_CONFIG_PATH": str(container.folder / "no-modal.toml"),
            "MODAL_CONTAINER_ARGUMENTS_PATH": str(container.folder / "arguments.bin"),
            "MODAL_TASK_ID": container.id,
            "MODAL_IS_REMOTE": "1",
            "MODAL_ENVIRONMENT": "main",
            "MODAL_CLOUD_PROVIDER": "CLOUD_PROVIDER_UNSPECIFIED",
            "MODAL_REGION": "loopback",
            "MODAL_OVERRIDE_HEADERS": f"x-loopback-task:{container.id}",
            "LOOPBACK_MODAL_STATE": str(self.cloud.state),
            "PYTHONPATH": str(root / "root"),
            "PYTHONUNBUFFERED": "1",
        }


# Where the deployment's containers write what is no Volume's. At Modal each has a disk of its own,
# empty at its start and gone with it; the rest of /tmp is where this machine's servers are.
OWN_DISK = "/tmp/rushes"


def namespace() -> list[str]:
    """The command that gives a process mounts of its own; without root, as root of its own."""
    return ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-mr"]


def hidden() -> list[str]:
    """Checkouts that editable installs put on the path of this interpreter."""
    site = Path(sys.prefix) / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    lines = [
        line for pth in site.glob("site-packages/*.pth") for line in pth.read_text().splitlines()
    ]
    return sorted({line for line in lines if line.startswith("/") and Path(line).is_dir()})


def interrupt(container: Container) -> None:
    if container.process and container.running:
        container.process.send_signal(signal.SIGINT)


def kill(container: Container) -> None:
    """SIGKILL for the container and all that it started; nothing once it is known to be gone."""
    if container.process and not container.gone:
        with suppress(ProcessLookupError):
            os.killpg(container.process.pid, signal.SIGKILL)
        container.gone = container.process.returncode is not None
