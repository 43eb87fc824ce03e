"""Wire the servicers and listen: gRPC for Modal's clients, HTTP for everything else."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpclib.server
from aiohttp import web
from modal._utils.grpc_utils import custom_detail_codec

from dev.loopback_modal.admin import Admin, Files
from dev.loopback_modal.apps import Apps, layout
from dev.loopback_modal.blobs import Blobs, Images, Mounts
from dev.loopback_modal.calls import Calls
from dev.loopback_modal.cloud import Cloud
from dev.loopback_modal.cron import CronRunner
from dev.loopback_modal.dicts import Dicts
from dev.loopback_modal.front_door import FrontDoor
from dev.loopback_modal.functions import Functions
from dev.loopback_modal.inputs import Inputs
from dev.loopback_modal.lost import LossyResponder
from dev.loopback_modal.process import Launcher, kill
from dev.loopback_modal.rpc import Journal, service
from dev.loopback_modal.scheduler import Scheduler
from dev.loopback_modal.secret_store import Secrets
from dev.loopback_modal.volume_files import VolumeFiles
from dev.loopback_modal.volumes import Volumes
from dev.loopback_modal.work import Work

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Options:
    state: Path
    port: int = 0
    grpc_port: int = 0
    cron: bool = False
    lifeline: bool = False


async def serve(options: Options) -> None:
    """Serve until SIGTERM or SIGINT, or with `lifeline` until standard input closes."""
    cloud = Cloud(options.state.resolve())
    # Only Volumes outlive a server: container ids are used again.
    shutil.rmtree(cloud.folder("tasks"))
    async with running(cloud, options) as cron_runner:
        print(json.dumps(announcement(cloud)), flush=True)
        ticking = asyncio.create_task(cron_runner.tick()) if options.cron else None
        await wait_for_stop(options.lifeline)
        if ticking:
            ticking.cancel()


@asynccontextmanager
async def running(cloud: Cloud, options: Options) -> AsyncIterator[CronRunner]:
    work, blobs, images, journal, responder = (
        Work(cloud), Blobs(cloud), Images(cloud), Journal(), LossyResponder(),
    )  # fmt: skip
    mounts, secrets, volumes = Mounts(cloud, blobs), Secrets(cloud), Volumes(cloud)
    launcher = Launcher(cloud, (images, mounts, secrets, volumes), lambda app: layout(cloud, app))
    scheduler = Scheduler(cloud, work, launcher)
    cron_runner = CronRunner(cloud, work)
    servicers = [
        Apps(cloud, scheduler), Functions(cloud), Calls(cloud, work, scheduler),
        Inputs(cloud, work, scheduler), Dicts(cloud), VolumeFiles(cloud, volumes, mounts),
        blobs, images, mounts, secrets, volumes,
    ]  # fmt: skip
    site = web.Application(client_max_size=1 << 32)
    admin = Admin(cloud, images, scheduler, cron_runner, journal, responder)
    add_routes(site, FrontDoor(cloud, work, blobs), Files(blobs, mounts, volumes), admin)
    async with http(site, options.port) as cloud.http_url:
        grpc: Any = grpclib.server.Server(
            [service(servicers, journal, responder)], status_details_codec=custom_detail_codec
        )
        await grpc.start(HOST, options.grpc_port)
        cloud.grpc_url = f"http://{HOST}:{grpc._server.sockets[0].getsockname()[1]}"
        try:
            yield cron_runner
        finally:
            for container in list(cloud.containers.values()):
                kill(container)
            grpc.close()


def add_routes(site: web.Application, door: FrontDoor, files: Files, admin: Admin) -> None:
    add = site.router.add_route
    add("PUT", "/__loopback__/blob/{id}", files.put_blob)
    add("GET", "/__loopback__/blob/{id}", files.get_blob)
    add("PUT", "/__loopback__/block/{sha}", files.put_block)
    add("GET", r"/__loopback__/volume/{id}/{start:\d+}/{length:\d+}/{path:.+}", files.get_volume)
    add("GET", "/__loopback__/volumes", files.list_volumes)
    add("*", "/__loopback__/{action}", admin)
    add("*", "/{path:.*}", door)


@asynccontextmanager
async def http(site: web.Application, port: int) -> AsyncIterator[str]:
    """Listen; a client that disconnects cancels its request's handler."""
    runner = web.AppRunner(site, handler_cancellation=True, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, port, shutdown_timeout=0.1).start()
    try:
        yield f"http://{HOST}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def announcement(cloud: Cloud) -> dict[str, Any]:
    """Return the addresses, and the environment that points Modal's client at them."""
    env = {
        "MODAL_SERVER_URL": cloud.grpc_url,
        "MODAL_TOKEN_ID": "ak-loopback",
        "MODAL_TOKEN_SECRET": "as-loopback",
        "MODAL_ENVIRONMENT": "main",
        "MODAL_CONFIG_PATH": str(cloud.state / "no-modal.toml"),
    }
    return {"http": cloud.http_url, "grpc": cloud.grpc_url, "pid": os.getpid(), "env": env}


async def wait_for_stop(lifeline: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if lifeline:
        loop.add_reader(sys.stdin.fileno(), stop.set)
    await stop.wait()
    with suppress(ValueError):
        loop.remove_reader(sys.stdin.fileno())
