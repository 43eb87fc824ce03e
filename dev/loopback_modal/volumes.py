"""RPCs of Volumes, and the containers' working copies of them."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import defaultdict
from pathlib import Path

from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from dev.loopback_modal.cloud import Cloud, lookup
from dev.loopback_modal.named import Named
from dev.loopback_modal.records import Container
from dev.loopback_modal.rpc import Caller, Empty, rpc
from dev.loopback_modal.working_copy import WorkingCopy


class Volumes:
    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.named = Named(cloud, "Volume", "vo")
        self.versions: dict[str, pb.VolumeFsVersion.ValueType] = {}
        self.copies: dict[tuple[str, str], WorkingCopy] = {}
        self.locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def folder(self, volume_id: str) -> Path:
        lookup(self.versions, volume_id, "Volume")
        return self.cloud.folder("volumes", self.named.name(volume_id) or volume_id)

    async def check_out(self, container: Container) -> list[tuple[str, str, bool]]:
        """Create the container's working copies; return (folder, mount path, read-only) of each."""
        mounts = []
        for mount in container.function.volume_mounts:
            path = self.cloud.folder("tasks", container.id, mount.volume_id)
            copy = WorkingCopy(self.folder(mount.volume_id), path, mount.read_only)
            self.copies[container.id, mount.volume_id] = copy
            async with self.locks[mount.volume_id]:
                await asyncio.to_thread(copy.reload)
            folder = path / mount.sub_path.strip("/")
            folder.mkdir(parents=True, exist_ok=True)
            mounts.append((str(folder), mount.mount_path, mount.read_only))
        return mounts

    async def discard(self, container: Container) -> None:
        """Delete the container's working copies, with uncommitted changes."""
        for key in [key for key in self.copies if key[0] == container.id]:
            copy = self.copies.pop(key)
            await asyncio.to_thread(shutil.rmtree, copy.path, ignore_errors=True)

    def copy(self, caller: Caller, volume_id: str) -> WorkingCopy:
        if (caller.task_id, volume_id) not in self.copies:
            message = "commit and reload need a container that mounts the Volume"
            raise GRPCError(Status.FAILED_PRECONDITION, message)
        return self.copies[caller.task_id, volume_id]

    @rpc
    async def volume_commit(
        self, request: pb.VolumeCommitRequest, caller: Caller
    ) -> pb.VolumeCommitResponse:
        copy = self.copy(caller, request.volume_id)
        if not copy.read_only:
            async with self.locks[request.volume_id]:
                await asyncio.to_thread(copy.commit)
        return pb.VolumeCommitResponse(skip_reload=True)

    @rpc
    async def volume_reload(self, request: pb.VolumeReloadRequest, caller: Caller) -> Empty:
        copy = self.copy(caller, request.volume_id)
        process = self.cloud.container(caller.task_id).process
        if process and (names := copy.open_files(group(process.pid))):
            message = f"there are open files preventing the operation: {', '.join(names)}"
            raise GRPCError(Status.FAILED_PRECONDITION, message)
        async with self.locks[request.volume_id]:
            await asyncio.to_thread(copy.reload)
        return Empty()

    @rpc
    async def volume_get_or_create(
        self, request: pb.VolumeGetOrCreateRequest, _: Caller
    ) -> pb.VolumeGetOrCreateResponse:
        volume_id = self.named.get_or_create(request)
        version = self.versions.setdefault(volume_id, request.version or pb.VOLUME_FS_VERSION_V1)
        self.folder(volume_id)
        return pb.VolumeGetOrCreateResponse(
            volume_id=volume_id, version=version, metadata=self.metadata(volume_id)
        )

    @rpc
    async def volume_get_by_id(
        self, request: pb.VolumeGetByIdRequest, _: Caller
    ) -> pb.VolumeGetByIdResponse:
        lookup(self.versions, request.volume_id, "Volume")
        return pb.VolumeGetByIdResponse(
            volume_id=request.volume_id, metadata=self.metadata(request.volume_id)
        )

    @rpc
    async def volume_heartbeat(self, _: pb.VolumeHeartbeatRequest, __: Caller) -> Empty:
        return Empty()

    @rpc
    async def volume_list(self, _: pb.VolumeListRequest, __: Caller) -> pb.VolumeListResponse:
        return pb.VolumeListResponse(
            items=[
                pb.VolumeListItem(label=name, volume_id=i, metadata=self.metadata(i))
                for name, i in self.named.newest_first()
            ],
            environment_name="main",
        )

    @rpc
    async def volume_delete(self, request: pb.VolumeDeleteRequest, _: Caller) -> Empty:
        await asyncio.to_thread(shutil.rmtree, self.folder(request.volume_id))
        self.named.forget(request.volume_id)
        return Empty()

    def metadata(self, volume_id: str) -> pb.VolumeMetadata:
        return pb.VolumeMetadata(
            name=self.named.name(volume_id),
            version=self.versions[volume_id],
            creation_info=self.named.creation(volume_id),
        )


def group(leader: int) -> list[int]:
    """List the processes of this process group."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if leads(leader, pid)]


def leads(leader: int, pid: int) -> bool:
    try:
        return os.getpgid(pid) == leader
    except ProcessLookupError:
        return False
