"""RPCs for a Volume's files without a mount: list, read, upload, remove."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from dev.loopback_modal.blobs import Mounts
from dev.loopback_modal.cloud import Cloud
from dev.loopback_modal.rpc import Caller, Empty, rpc
from dev.loopback_modal.volumes import Volumes
from dev.loopback_modal.working_copy import put

BLOCK_BYTES = 8 * 1024 * 1024


class VolumeFiles:
    def __init__(self, cloud: Cloud, volumes: Volumes, uploads: Mounts) -> None:
        self.cloud = cloud
        self.volumes = volumes
        self.uploads = uploads

    def path(self, volume_id: str, name: str) -> Path:
        """Return the path of a file or folder. Raises NOT_FOUND if the Volume has none."""
        folder = self.volumes.folder(volume_id)
        path = (folder / name.lstrip("/")).resolve()
        if not path.is_relative_to(folder.resolve()) or not path.exists():
            raise GRPCError(Status.NOT_FOUND, f"{name}: no such file or directory")
        return path

    @rpc
    async def volume_list_files(
        self, request: pb.VolumeListFilesRequest, _: Caller
    ) -> AsyncIterator[pb.VolumeListFilesResponse]:
        for entry in self.entries(request.volume_id, request.path, request.recursive):
            yield pb.VolumeListFilesResponse(entries=[entry])

    @rpc
    async def volume_list_files2(
        self, request: pb.VolumeListFiles2Request, _: Caller
    ) -> AsyncIterator[pb.VolumeListFiles2Response]:
        for entry in self.entries(request.volume_id, request.path, request.recursive):
            yield pb.VolumeListFiles2Response(entries=[entry])

    def entries(self, volume_id: str, name: str, recursive: bool) -> list[pb.FileEntry]:
        folder = self.volumes.folder(volume_id).resolve()
        start = self.path(volume_id, name)
        below = start.rglob("*") if recursive else start.glob("*")
        return [entry(path, folder) for path in (sorted(below) if start.is_dir() else [start])]

    @rpc
    async def volume_get_file2(
        self, request: pb.VolumeGetFile2Request, _: Caller
    ) -> pb.VolumeGetFile2Response:
        """Return a URL for each block; the first begins at the request's offset."""
        path = self.path(request.volume_id, request.path)
        if not path.is_file():
            raise GRPCError(Status.NOT_FOUND, f"{request.path}: not a file")
        size, start = path.stat().st_size, request.start
        end = min(size, start + request.len) if request.len else size
        cuts = [start, *range((start // BLOCK_BYTES + 1) * BLOCK_BYTES, end, BLOCK_BYTES), end]
        base = f"{self.cloud.http_url}/__loopback__/volume/{request.volume_id}"
        urls = [
            f"{base}/{a}/{b - a}/{quote(request.path.lstrip('/'))}"
            for a, b in pairwise(cuts)
            if a < b
        ]
        return pb.VolumeGetFile2Response(
            get_urls=urls, size=size, start=start, len=max(0, end - start)
        )

    @rpc
    async def volume_put_files(self, request: pb.VolumePutFilesRequest, _: Caller) -> Empty:
        names = [file.filename for file in request.files]
        self.refuse_existing(request.volume_id, names, request.disallow_overwrite_existing_files)
        folder = self.volumes.folder(request.volume_id)
        async with self.volumes.locks[request.volume_id]:
            for file in request.files:
                source = self.uploads.file(file.sha256_hex)
                target = folder / file.filename.lstrip("/")
                await asyncio.to_thread(put, source, target)
        return Empty()

    @rpc
    async def volume_put_files2(
        self, request: pb.VolumePutFiles2Request, _: Caller
    ) -> pb.VolumePutFiles2Response:
        """Return the missing blocks; once there are none, write the files."""
        names = [file.path for file in request.files]
        self.refuse_existing(request.volume_id, names, request.disallow_overwrite_existing_files)
        absent = [
            pb.VolumePutFiles2Response.MissingBlock(
                file_index=i, block_index=j, put_url=self.block_url(block.contents_sha256)
            )
            for i, file in enumerate(request.files)
            for j, block in enumerate(file.blocks)
            if not self.uploads.file(block.contents_sha256.hex()).exists()
        ]
        if not absent:
            async with self.volumes.locks[request.volume_id]:
                for file in request.files:
                    await asyncio.to_thread(self.assemble, request.volume_id, file)
        return pb.VolumePutFiles2Response(missing_blocks=absent)

    def block_url(self, sha256: bytes) -> str:
        return f"{self.cloud.http_url}/__loopback__/block/{sha256.hex()}"

    def assemble(self, volume_id: str, file: pb.VolumePutFiles2Request.File) -> None:
        whole = self.cloud.folder("files") / f"whole-{self.cloud.new_id('wh')}"
        with whole.open("wb") as out:
            for block in file.blocks:
                out.write(self.uploads.file(block.contents_sha256.hex()).read_bytes())
            out.truncate(file.size)
        put(whole, self.volumes.folder(volume_id) / file.path.lstrip("/"))
        whole.unlink()

    def refuse_existing(self, volume_id: str, names: list[str], refuse: bool) -> None:
        folder = self.volumes.folder(volume_id)
        there = [name for name in names if refuse and (folder / name.lstrip("/")).exists()]
        if there:
            raise GRPCError(Status.ALREADY_EXISTS, f"{there[0]} already exists")

    @rpc
    async def volume_remove_file(self, request: pb.VolumeRemoveFileRequest, _: Caller) -> Empty:
        return self.remove(request.volume_id, request.path, request.recursive)

    @rpc
    async def volume_remove_file2(self, request: pb.VolumeRemoveFile2Request, _: Caller) -> Empty:
        return self.remove(request.volume_id, request.path, request.recursive)

    def remove(self, volume_id: str, name: str, recursive: bool) -> Empty:
        path = self.path(volume_id, name)
        if not path.is_dir():
            path.unlink()
        elif recursive:
            shutil.rmtree(path)
        else:
            raise GRPCError(Status.INVALID_ARGUMENT, f"{name} is a directory")
        return Empty()


def entry(path: Path, folder: Path) -> pb.FileEntry:
    kind = pb.FileEntry.DIRECTORY if path.is_dir() else pb.FileEntry.FILE
    stat = path.stat()
    return pb.FileEntry(
        path=str(path.relative_to(folder)), type=kind, mtime=int(stat.st_mtime), size=stat.st_size
    )
