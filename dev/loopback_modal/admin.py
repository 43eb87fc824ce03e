"""The hand of the tester, over HTTP: see what there is, and make things go wrong on purpose."""

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
from dev.loopback_modal.cron import Clockwork
from dev.loopback_modal.lost import LosingAnswers, Way
from dev.loopback_modal.process import kill
from dev.loopback_modal.records import Container, Input, Pool
from dev.loopback_modal.rpc import Journal
from dev.loopback_modal.scheduler import Scheduler, definition, present, settings
from dev.loopback_modal.volumes import Volumes
from dev.loopback_modal.working_copy import scan

Action = Callable[[Any], Any]


class Admin:
    """Each public method is one `/__loopback__/<name>`; it takes the query, answers JSON."""

    def __init__(
        self,
        cloud: Cloud,
        images: Images,
        scheduler: Scheduler,
        clockwork: Clockwork,
        journal: Journal,
        losing: LosingAnswers,
    ) -> None:
        self._cloud = cloud
        self._images = images
        self._scheduler = scheduler
        self._clockwork = clockwork
        self._journal = journal
        self._losing = losing

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
            told(pool)
            | {
                "environment": self._images.environment(definition(pool).image_id),
                "recipe": self._images.recipe(definition(pool).image_id),
            }
            for pool in self._cloud.live()
        ]

    def calls(self, query: Any) -> list[dict[str, Any]]:
        app = query.get("app")
        return [call(i) for i in self._cloud.calls.values() if app in (None, i.pool.app.name)]

    def containers(self, _: Any) -> list[dict[str, Any]]:
        return [container(c) for c in self._cloud.containers.values()]

    def rpcs(self, _: Any) -> list[dict[str, Any]]:
        return list(self._journal.entries)

    def tick(self, query: Any) -> dict[str, Any]:
        """Runs a Function now, as its schedule would."""
        named = (p for p in self._cloud.live() if name_of(p) == query["function"])
        pool = next(p for p in named if query.get("app") in (None, p.app.name))
        return call(self._clockwork.run(pool))

    def preempt(self, query: Any) -> dict[str, Any]:
        """SIGINT, a grace period, SIGKILL; the inputs run again elsewhere."""
        chosen = self._cloud.containers[query["task"]]
        self._scheduler.stop(chosen, "preempted", float(query.get("grace_s", 30)))
        return container(chosen)

    def crash(self, query: Any) -> dict[str, Any]:
        """SIGKILL for the container and all that it started."""
        chosen = self._cloud.containers[query["task"]]
        kill(chosen)
        return container(chosen)

    def redeliver(self, query: Any) -> dict[str, Any]:
        """Delivers a running input a second time, to another container, as an expired lease does:
        beyond `max_containers` if need be."""
        given = self._cloud.calls[query["call"]]
        if given.status != "RUNNING":
            raise ValueError(f"{given.call_id} is {given.status}")
        pool = given.pool
        pool.queue.appendleft(given)
        if all(given in c.inputs.values() for c in present(pool)):
            self._scheduler.start(pool)
        self._cloud.changed(pool)
        return call(given)

    def expire(self, query: Any) -> dict[str, Any]:
        """Forgets a result, as Modal does after seven days."""
        return call(self._cloud.calls.pop(query["call"]))

    def lose_next_spawn_answer(self, query: Any) -> dict[str, Any]:
        way = cast(Way, query.get("way", "unavailable"))
        self._losing.lose_next(way, int(query.get("times", 1)))
        return {"armed": len(self._losing.armed)}

    def cut_off(self, query: Any) -> list[str]:
        """Breaks the connection of every web request below a path; `on=0` lets them pass again."""
        paths = self._cloud.cut_off
        (paths.add if query.get("on", "1") == "1" else paths.discard)(query["path"])
        return sorted(paths)


class Files:
    """The URLs that blobs and blocks are sent to and fetched from."""

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
        """Modal pads a file's last block with zeros before it takes the hash."""
        self.mounts.file(request.match_info["sha"]).write_bytes(await request.read())
        return web.Response(body=b"here")

    async def get_volume(self, request: web.Request) -> web.Response:
        at = request.match_info
        path = self.volumes.folder(at["id"]) / at["path"]
        with path.open("rb") as file:
            file.seek(int(at["start"]))
            return web.Response(body=file.read(int(at["length"])))

    async def list_volumes(self, _: web.Request) -> web.Response:
        """Every named Volume with its files and their sizes."""
        folders = {name: self.volumes.folder(i) for name, i in self.volumes.named.ids.items()}
        told = [
            {"name": name, "path": str(path), "files": {n: s[0] for n, s in scan(path).items()}}
            for name, path in folders.items()
        ]
        return web.json_response(told)


def name_of(pool: Pool) -> str:
    return definition(pool).function_name


def told(pool: Pool) -> dict[str, Any]:
    """A Function as it was deployed, whole; `bound` is one with parameters or options."""
    ranked = [r.function for r in pool.live.data.ranked_functions] if pool.live else []
    return {
        "id": pool.id,
        "app": pool.app.name,
        "name": name_of(pool),
        "bound": pool.base is not None,
        "gpus": [f.resources.gpu_config.gpu_type for f in ranked or [definition(pool)]],
        "web_url": definition(pool).web_url,
        "autoscaler": plain(settings(pool)),
        "definition": plain(definition(pool)),
    }


def plain(message: Any) -> dict[str, Any]:
    told: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return told


def call(given: Input) -> dict[str, Any]:
    message, result = given.message, given.output.result if given.output else pb.GenericResult()
    return {
        "id": given.call_id,
        "input": given.id,
        "app": given.pool.app.name,
        "function": name_of(given.pool),
        "method": message.method_name,
        "args": arguments(message),
        "status": given.status,
        "attempt": given.attempt,
        "tasks": [c.id for c in given.holders],
        "exception": result.exception,
        "created_at": given.created_at,
    }


def arguments(message: pb.FunctionInput) -> str:
    if message.args_blob_id:
        return f"blob {message.args_blob_id}"
    try:
        return repr(deserialize_data_format(message.args, message.data_format, None))
    except DeserializationError as exc:  # classes that only the App has
        return f"{len(message.args)} bytes: {exc}"


def container(chosen: Container) -> dict[str, Any]:
    return {
        "task": chosen.id,
        "app": chosen.pool.app.name,
        "function": chosen.function.function_name,
        "function_id": chosen.pool.id,
        "pid": chosen.process.pid if chosen.process else None,
        "ready": chosen.ready,
        "leaving": chosen.leaving,
        "calls": [given.call_id for given in chosen.inputs.values()],
        "log": str(chosen.log),
        "age_s": time.time() - chosen.enqueued_at,
    }
