"""Admin interface for tests over HTTP: inspect the state, and cause failures on purpose."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any, cast

from aiohttp import web
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
from modal._serialization import deserialize_data_format
from modal.exception import DeserializationError
from modal_proto import api_pb2 as pb

from dev.loopback_modal.blobs import Blobs, Images, Mounts
from dev.loopback_modal.cloud import Cloud
from dev.loopback_modal.cron import CronRunner
from dev.loopback_modal.lost import LossyResponder, Way
from dev.loopback_modal.process import kill
from dev.loopback_modal.records import Container, Input, Pool
from dev.loopback_modal.rpc import Journal
from dev.loopback_modal.scheduler import Scheduler, available, definition, settings
from dev.loopback_modal.volumes import Volumes
from dev.loopback_modal.working_copy import scan

Action = Callable[[Any], Any]


class Admin:
    """Serves each public method at `/__loopback__/<name>`: takes the query, returns JSON."""

    def __init__(
        self,
        cloud: Cloud,
        images: Images,
        scheduler: Scheduler,
        cron_runner: CronRunner,
        journal: Journal,
        responder: LossyResponder,
    ) -> None:
        self._cloud = cloud
        self._images = images
        self._scheduler = scheduler
        self._cron_runner = cron_runner
        self._journal = journal
        self._responder = responder

    async def __call__(self, request: web.Request) -> web.Response:
        name = request.match_info["action"]
        action: Action | None = None if name.startswith("_") else getattr(self, name, None)
        if action is None:
            return web.json_response({"error": f"no such action: {name}"}, status=404)
        try:
            return web.json_response(action(request.query))
        except (LookupError, ValueError) as exc:
            return web.json_response({"error": repr(exc)}, status=400)

    def functions(self, _: Any) -> list[dict[str, Any]]:
        return [
            describe_function(pool)
            | {
                "environment": self._images.environment(definition(pool).image_id),
                "recipe": self._images.recipe(definition(pool).image_id),
            }
            for pool in self._cloud.live()
        ]

    def calls(self, query: Any) -> list[dict[str, Any]]:
        app = query.get("app")
        return [
            describe_call(i) for i in self._cloud.calls.values() if app in (None, i.pool.app.name)
        ]

    def containers(self, _: Any) -> list[dict[str, Any]]:
        return [describe_container(c) for c in self._cloud.containers.values()]

    def rpcs(self, _: Any) -> list[dict[str, Any]]:
        return list(self._journal.entries)

    def tick(self, query: Any) -> dict[str, Any]:
        """Run a Function now, as its schedule would."""
        matches = (p for p in self._cloud.live() if name_of(p) == query["function"])
        pool = next(p for p in matches if query.get("app") in (None, p.app.name))
        return describe_call(self._cron_runner.run(pool))

    def preempt(self, query: Any) -> dict[str, Any]:
        """Send SIGINT, and SIGKILL after a grace period; the inputs run again elsewhere."""
        target = self._cloud.containers[query["task"]]
        self._scheduler.stop(target, "preempted", float(query.get("grace_s", 30)))
        return describe_container(target)

    def crash(self, query: Any) -> dict[str, Any]:
        """Send SIGKILL to the container's process group."""
        target = self._cloud.containers[query["task"]]
        kill(target)
        return describe_container(target)

    def redeliver(self, query: Any) -> dict[str, Any]:
        """Deliver a running input to a second container, as an expired lease does, even above
        `max_containers`."""
        call = self._cloud.calls[query["call"]]
        if call.status != "RUNNING":
            raise ValueError(f"{call.call_id} is {call.status}")
        pool = call.pool
        pool.queue.appendleft(call)
        if all(call in c.inputs.values() for c in available(pool)):
            self._scheduler.start(pool)
        self._cloud.changed(pool)
        return describe_call(call)

    def expire(self, query: Any) -> dict[str, Any]:
        """Drop a result, as Modal does after seven days."""
        return describe_call(self._cloud.calls.pop(query["call"]))

    def lose_next_spawn_answer(self, query: Any) -> dict[str, Any]:
        way = cast(Way, query.get("way", "unavailable"))
        self._responder.lose_next(way, int(query.get("times", 1)))
        return {"armed": len(self._responder.losses)}

    def cut_off(self, query: Any) -> list[str]:
        """Abort every web request below a path, until it is called with `on=0`."""
        paths = self._cloud.cut_off
        (paths.add if query.get("on", "1") == "1" else paths.discard)(query["path"])
        return sorted(paths)


class Files:
    """Upload and download URLs of blobs and blocks."""

    def __init__(self, blobs: Blobs, mounts: Mounts, volumes: Volumes) -> None:
        self.blobs = blobs
        self.mounts = mounts
        self.volumes = volumes

    async def put_blob(self, request: web.Request) -> web.Response:
        data = await request.read()
        self.blobs.path(request.match_info["id"]).write_bytes(data)
        checksum = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return web.Response(headers={"ETag": f'"{checksum}"'})

    async def get_blob(self, request: web.Request) -> web.StreamResponse:
        return web.FileResponse(self.blobs.path(request.match_info["id"]))

    async def put_block(self, request: web.Request) -> web.Response:
        """Store a block; Modal pads a file's last block with zeros before it hashes it."""
        self.mounts.file(request.match_info["sha"]).write_bytes(await request.read())
        return web.Response(body=b"here")

    async def get_volume(self, request: web.Request) -> web.Response:
        at = request.match_info
        path = self.volumes.folder(at["id"]) / at["path"]
        with path.open("rb") as file:
            file.seek(int(at["start"]))
            return web.Response(body=file.read(int(at["length"])))

    async def list_volumes(self, _: web.Request) -> web.Response:
        """List every named Volume with its files and their sizes."""
        folders = {name: self.volumes.folder(i) for name, i in self.volumes.named.ids.items()}
        rows = [
            {"name": name, "path": str(path), "files": {n: s[0] for n, s in scan(path).items()}}
            for name, path in folders.items()
        ]
        return web.json_response(rows)


def name_of(pool: Pool) -> str:
    return definition(pool).function_name


def describe_function(pool: Pool) -> dict[str, Any]:
    """Describe a deployed Function; `bound` means one with parameters or options."""
    fallbacks = [r.function for r in pool.live.data.ranked_functions] if pool.live else []
    return {
        "id": pool.id,
        "app": pool.app.name,
        "name": name_of(pool),
        "bound": pool.base is not None,
        "gpus": [f.resources.gpu_config.gpu_type for f in fallbacks or [definition(pool)]],
        "web_url": definition(pool).web_url,
        "autoscaler": plain(settings(pool)),
        "definition": plain(definition(pool)),
    }


def plain(message: Any) -> dict[str, Any]:
    fields: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return fields


def describe_call(call: Input) -> dict[str, Any]:
    message, result = call.message, call.output.result if call.output else pb.GenericResult()
    return {
        "id": call.call_id,
        "input": call.id,
        "app": call.pool.app.name,
        "function": name_of(call.pool),
        "method": message.method_name,
        "args": arguments(message),
        "status": call.status,
        "attempt": call.attempt,
        "tasks": [c.id for c in call.holders],
        "exception": result.exception,
        "created_at": call.created_at,
    }


def arguments(message: pb.FunctionInput) -> str:
    if message.args_blob_id:
        return f"blob {message.args_blob_id}"
    try:
        return repr(deserialize_data_format(message.args, message.data_format, None))
    except DeserializationError as exc:  # of classes that only the App has
        return f"{len(message.args)} bytes: {exc}"


def describe_container(container: Container) -> dict[str, Any]:
    return {
        "task": container.id,
        "app": container.pool.app.name,
        "function": container.function.function_name,
        "function_id": container.pool.id,
        "pid": container.process.pid if container.process else None,
        "ready": container.ready,
        "leaving": container.leaving,
        "calls": [call.call_id for call in container.inputs.values()],
        "log": str(container.log),
        "age_s": time.time() - container.enqueued_at,
    }
