"""RPCs of blobs, mounts and images; images are recorded but not built."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from modal_proto import api_pb2 as pb

from dev.loopback_modal.cloud import Cloud
from dev.loopback_modal.rpc import Caller, rpc


class Blobs:
    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def path(self, blob_id: str) -> Path:
        return self.cloud.folder("blobs") / blob_id

    @rpc
    async def blob_create(self, _: pb.BlobCreateRequest, __: Caller) -> pb.BlobCreateResponse:
        blob_id = self.cloud.new_id("bl")
        urls = pb.UploadUrlList(items=[f"{self.cloud.http_url}/__loopback__/blob/{blob_id}"])
        return pb.BlobCreateResponse(blob_ids=[blob_id], upload_urls=urls)

    @rpc
    async def blob_get(self, request: pb.BlobGetRequest, _: Caller) -> pb.BlobGetResponse:
        url = f"{self.cloud.http_url}/__loopback__/blob/{request.blob_id}"
        return pb.BlobGetResponse(download_url=url)


class Mounts:
    """Uploaded source files by hash, and the folders that containers get of them."""

    def __init__(self, cloud: Cloud, blobs: Blobs) -> None:
        self.cloud = cloud
        self.blobs = blobs
        self.mounts: dict[str, list[pb.MountFile]] = {}

    def file(self, sha256_hex: str) -> Path:
        return self.cloud.folder("files") / sha256_hex

    @rpc
    async def mount_batched_check_existence(
        self, request: pb.MountBatchedCheckExistenceRequest, _: Caller
    ) -> pb.MountBatchedCheckExistenceResponse:
        absent = [sha for sha in request.sha256_hex_hashes if not self.file(sha).exists()]
        return pb.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=absent)

    @rpc
    async def mount_put_file(
        self, request: pb.MountPutFileRequest, _: Caller
    ) -> pb.MountPutFileResponse:
        path = self.file(request.sha256_hex)
        if request.WhichOneof("data_oneof") == "data":
            path.write_bytes(request.data)
        elif request.data_blob_id and not path.exists():
            os.link(self.blobs.path(request.data_blob_id), path)
        return pb.MountPutFileResponse(exists=path.exists())

    @rpc
    async def mount_get_or_create(
        self, request: pb.MountGetOrCreateRequest, _: Caller
    ) -> pb.MountGetOrCreateResponse:
        mount_id = self.cloud.new_id("mo")
        self.mounts[mount_id] = list(request.files)
        metadata = pb.MountHandleMetadata(content_checksum_sha256_hex=digest(request.files))
        return pb.MountGetOrCreateResponse(mount_id=mount_id, handle_metadata=metadata)

    def materialise(self, mount_ids: Iterable[str]) -> Path:
        """Return a folder with these mounts' files, shared by equal mounts, so that Python compiles
        them once."""
        files = [file for mount_id in mount_ids for file in self.mounts.get(mount_id, [])]
        root = self.cloud.state / "rootfs" / digest(files)[:16]
        if not root.exists():
            partial = root.with_suffix(".part")
            (partial / "root").mkdir(parents=True, exist_ok=True)
            for file in files:
                path = partial / file.filename.lstrip("/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.file(file.sha256_hex).read_bytes())
            partial.rename(root)
        return root


def digest(files: Iterable[pb.MountFile]) -> str:
    names = sorted(f"{file.filename} {file.sha256_hex}" for file in files)
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


class Images:
    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.images: dict[str, pb.Image] = {}

    @rpc
    async def image_get_or_create(
        self, request: pb.ImageGetOrCreateRequest, _: Caller
    ) -> pb.ImageGetOrCreateResponse:
        ids = (i for i, image in self.images.items() if image == request.image)
        image_id = next(ids, None) or self.cloud.new_id("im")
        self.images[image_id] = request.image
        return pb.ImageGetOrCreateResponse(
            image_id=image_id,
            metadata=pb.ImageMetadata(image_builder_version=request.builder_version),
            result=pb.GenericResult(status=pb.GenericResult.GENERIC_STATUS_SUCCESS),
        )

    def environment(self, image_id: str) -> dict[str, str]:
        """Return the variables that `Image.env` set in this image and its bases."""
        env: dict[str, str] = {}
        for command in self.recipe(image_id):
            if command.startswith("ENV "):
                name, _, value = command.removeprefix("ENV ").partition("=")
                env[name] = "".join(shlex.split(value))
        return env

    def recipe(self, image_id: str) -> list[str]:
        """Return the commands of the base images, then of this one."""
        image = self.images.get(image_id, pb.Image())
        below = (self.recipe(base.image_id) for base in image.base_images)
        return [*chain.from_iterable(below), *image.dockerfile_commands]
