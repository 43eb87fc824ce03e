"""How many containers a pool has: starts, keeps, retires, stops and replaces them."""

from __future__ import annotations

import asyncio
import logging
import math
import time

from grpclib import GRPCError
from modal_proto import api_pb2 as pb

from dev.loopback_modal.cloud import Cloud
from dev.loopback_modal.options import with_options
from dev.loopback_modal.process import Launcher, interrupt, kill
from dev.loopback_modal.records import Container, Input, Pool
from dev.loopback_modal.work import Work

log = logging.getLogger(__name__)

FIRST_PAUSE_S, MAX_PAUSE_S = 0.2, 4.0
EPHEMERAL_CRASHES = 3
PREEMPTION_GRACE_S = 30.0
EXIT_GRACE_S = 30.0
TIMEOUT_GRACE_S = 1.0
DEFAULT_SCALEDOWN_S = 60.0
DEFAULT_TIMEOUT_S = 300
MAX_CONTAINERS = 100
Result = pb.GenericResult


class Scheduler:
    def __init__(self, cloud: Cloud, work: Work, launcher: Launcher) -> None:
        self.cloud = cloud
        self.work = work
        self.launcher = launcher
        self.tasks: set[asyncio.Task[None]] = set()
        cloud.balance = self.balance

    def balance(self, pool: Pool) -> None:
        """Starts what is missing: now, or when the pause after a crash is over."""
        if pool.app.stopped or not (pool.base or pool).live:
            return
        room = most(pool) - len(counted(pool))
        missing = min(wanted(pool) - len(present(pool)), room)
        pause_s = pool.not_before - time.monotonic()
        if missing > 0 and pause_s > 0:
            asyncio.get_running_loop().call_later(pause_s, self.balance, pool)
            return
        for _ in range(missing):
            self.start(pool)

    def start(self, pool: Pool) -> Container:
        task_id = self.cloud.new_id("ta")
        folder = self.cloud.folder("tasks", task_id)
        container = Container(task_id, pool, definition(pool), pool.app.version, folder)
        self.cloud.containers[task_id] = container
        pool.containers.append(container)
        task = asyncio.get_running_loop().create_task(self.live(container))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return container

    async def live(self, container: Container) -> None:
        """The whole life of a container, from its process to what is left behind."""
        try:
            status = await self.run(container)
        except (OSError, GRPCError):
            log.exception("%s did not start", container.id)
            status = -1
        log.info("%s left with %s %s", container.id, status, container.leaving)
        failed = status != 0 or container.result is not None
        self.left(container, crashed=failed and not container.leaving)
        await self.launcher.clean(container)

    async def run(self, container: Container) -> int:
        """Runs the process to its end, and kills it when it does not ask for work in time."""
        function = container.function
        limit_s = function.startup_timeout_secs or function.timeout_secs or DEFAULT_TIMEOUT_S
        process = container.process = await self.launcher.launch(container)
        log.info("%s runs %s, pid %s", container.id, function.function_name, process.pid)
        if container.leaving:
            interrupt(container)
        late = asyncio.get_running_loop().call_later(limit_s, self.started_too_late, container)
        status = await process.wait()
        late.cancel()
        return status

    def left(self, container: Container, crashed: bool) -> None:
        kill(container)  # whatever it started and did not stop
        pool = container.pool
        pool.containers.remove(container)
        del self.cloud.containers[container.id]
        if crashed:
            self.note_crash(pool)
        self.work.hand_back(container)
        if crashed and pool.app.ephemeral and pool.crashes_in_a_row >= EPHEMERAL_CRASHES:
            self.work.give_up(pool, container.result or lost(container))
        self.cloud.changed(pool)

    def note_crash(self, pool: Pool) -> None:
        pause_s = min(FIRST_PAUSE_S * 2**pool.crashes_in_a_row, MAX_PAUSE_S)
        pool.crashes_in_a_row += 1
        pool.not_before = time.monotonic() + pause_s

    def started_too_late(self, container: Container) -> None:
        if not container.ready:
            kill(container)

    def stop(self, container: Container, reason: str, grace_s: float = PREEMPTION_GRACE_S) -> None:
        """SIGINT now, SIGKILL after the grace period; its inputs run again elsewhere."""
        container.leaving = container.leaving or reason
        interrupt(container)
        asyncio.get_running_loop().call_later(grace_s, kill, container)

    def retire(self, container: Container, reason: str) -> None:
        """The container gets no more inputs; it finishes its own and leaves in good order."""
        container.leaving = container.leaving or reason
        if not container.inputs:
            asyncio.get_running_loop().call_later(EXIT_GRACE_S, kill, container)

    def idle_left_s(self, container: Container) -> float | None:
        """How long this container may still wait for work; None while it need not leave."""
        pool = container.pool
        if container.inputs or len(present(pool)) <= settings(pool).min_containers:
            return None
        window_s = settings(pool).scaledown_window or DEFAULT_SCALEDOWN_S
        return max(0.0, container.idle_since + window_s - time.monotonic())

    def watch(self, given: Input, container: Container) -> None:
        """Ends this attempt when the Function's timeout has passed."""
        limit_s = container.function.timeout_secs or DEFAULT_TIMEOUT_S
        loop = asyncio.get_running_loop()
        loop.call_later(limit_s, self.timed_out, given, container, given.attempt)

    def timed_out(self, given: Input, container: Container, attempt: int) -> None:
        if given.output or given.attempt != attempt or container not in given.holders:
            return
        limit_s = container.function.timeout_secs
        said = f"Task's current input {given.id} hit its timeout of {limit_s}s"
        result = Result(status=Result.GENERIC_STATUS_TIMEOUT, exception=said)
        self.work.failed(given, container, result)
        if slots(container.function) > 1:
            container.cancels.append(given.id)
            container.cancel_bell.notify()
        else:
            self.work.release(given, container)
            self.stop(container, "timeout", TIMEOUT_GRACE_S)


def definition(pool: Pool) -> pb.Function:
    known = (pool.base or pool).live
    if not known:
        return pb.Function()
    return with_options(known.function, pool.options) if pool.base else known.function


def settings(pool: Pool) -> pb.AutoscalerSettings:
    """What the definition says, with what `update_autoscaler` said since the last deploy."""
    function, now = definition(pool), pb.AutoscalerSettings()
    now.CopyFrom(function.autoscaler_settings)
    now.MergeFrom(pool.overrides)
    return now


def slots(function: pb.Function) -> int:
    """How many inputs a container is meant to run at once."""
    return function.target_concurrent_inputs or function.max_concurrent_inputs or 1


def present(pool: Pool) -> list[Container]:
    """The containers that take inputs, or will."""
    return [c for c in counted(pool) if not c.leaving]


def counted(pool: Pool) -> list[Container]:
    """The containers that `max_containers` counts: those of the deployment that is live."""
    return [c for c in pool.containers if c.app_version == pool.app.version]


def most(pool: Pool) -> int:
    return settings(pool).max_containers or MAX_CONTAINERS


def wanted(pool: Pool) -> int:
    now = settings(pool)
    inputs = len(pool.queue) + sum(len(container.inputs) for container in present(pool))
    busy = math.ceil(inputs / slots(definition(pool)))
    return max(now.min_containers, busy + (now.buffer_containers if busy else 0))


def lost(container: Container) -> pb.GenericResult:
    return Result(
        status=Result.GENERIC_STATUS_INTERNAL_FAILURE,
        exception=f"Container {container.id} died; its log is {container.log}",
    )
