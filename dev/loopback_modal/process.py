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

# A container does not inherit the environment: its variables come from Secrets and images.
PASSED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
ENTER = Path(__file__).parent / "enter.py"


class Launcher:
    def __init__(
        self,
        cloud: Cloud,
        servicers: tuple[Images, Mounts, Secrets, Volumes],
        layout: Callable[[App], pb.AppLayout],
    ) -> None:
        self.cloud = cloud
        self.images, self.mounts, self.secrets, self.volumes = servicers
        self.layout = layout

    async def launch(self, container: Container) -> asyncio.subprocess.Process:
        """Start the process in its own process group; it dies with this process."""
        root = self.mounts.materialise(container.function.mount_ids)
        self.write_arguments(container)
        mounts = await self.volumes.check_out(container)
        plan = {"parent": os.getpid(), "home": str(root / "root"), "root": str(root)}
        plan |= {
            "mounts": mounts,
            "new_root": str(self.cloud.folder("tasks", container.id, "fs")),
            "hidden": [*hidden(), OWN_DISK],
        }
        plan |= {"visible": [sys.prefix, sys.base_prefix, str(self.cloud.state)]}
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
        """Delete a container's files, except its log."""
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
        env = {name: os.environ[name] for name in PASSED if name in os.environ}
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


# The deployment's data folder. At Modal each container has its own disk, empty at its start; the
# rest of /tmp is used by servers on this machine.
OWN_DISK = "/tmp/rushes"


def namespace() -> list[str]:
    """Return the command for a mount namespace; without root also for a user namespace."""
    return ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-mr"]


def hidden() -> list[str]:
    """List checkouts that editable installs put on this interpreter's path."""
    site = Path(sys.prefix) / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    lines = [
        line for pth in site.glob("site-packages/*.pth") for line in pth.read_text().splitlines()
    ]
    return sorted({line for line in lines if line.startswith("/") and Path(line).is_dir()})


def interrupt(container: Container) -> None:
    if container.process and container.running:
        container.process.send_signal(signal.SIGINT)


def kill(container: Container) -> None:
    """Kill the container's process group, unless it is known to have exited."""
    if container.process and not container.has_exited:
        with suppress(ProcessLookupError):
            os.killpg(container.process.pid, signal.SIGKILL)
        container.has_exited = container.process.returncode is not None
