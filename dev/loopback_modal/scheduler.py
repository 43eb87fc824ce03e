"""Scale pools: start, keep, retire, stop and replace containers."""

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
        """Start missing containers, now or after the pause that follows a crash."""
        if pool.app.stopped or not (pool.base or pool).live:
            return
        headroom = container_limit(pool) - len(current(pool))
        missing = min(target_containers(pool) - len(available(pool)), headroom)
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
        """Run a container from its start to its cleanup."""
        try:
            status = await self.run(container)
        except (OSError, GRPCError):
            log.exception("%s did not start", container.id)
            status = -1
        log.info("%s left with %s %s", container.id, status, container.leaving)
        has_failed = status != 0 or container.result is not None
        self.on_exit(container, has_crashed=has_failed and not container.leaving)
        await self.launcher.clean(container)

    async def run(self, container: Container) -> int:
        """Run the process to its end; kill it if it does not ask for work in time."""
        function = container.function
        limit_s = function.startup_timeout_secs or function.timeout_secs or DEFAULT_TIMEOUT_S
        process = container.process = await self.launcher.launch(container)
        log.info("%s runs %s, pid %s", container.id, function.function_name, process.pid)
        if container.leaving:
            interrupt(container)
        timer = asyncio.get_running_loop().call_later(limit_s, self.kill_unless_ready, container)
        status = await process.wait()
        timer.cancel()
        return status

    def on_exit(self, container: Container, has_crashed: bool) -> None:
        kill(container)  # and what it has started
        pool = container.pool
        pool.containers.remove(container)
        del self.cloud.containers[container.id]
        if has_crashed:
            self.note_crash(pool)
        self.work.hand_back(container)
        if has_crashed and pool.app.ephemeral and pool.crashes_in_a_row >= EPHEMERAL_CRASHES:
            self.work.give_up(pool, container.result or died_result(container))
        self.cloud.changed(pool)

    def note_crash(self, pool: Pool) -> None:
        pause_s = min(FIRST_PAUSE_S * 2**pool.crashes_in_a_row, MAX_PAUSE_S)
        pool.crashes_in_a_row += 1
        pool.not_before = time.monotonic() + pause_s

    def kill_unless_ready(self, container: Container) -> None:
        if not container.ready:
            kill(container)

    def stop(self, container: Container, reason: str, grace_s: float = PREEMPTION_GRACE_S) -> None:
        """Send SIGINT now and SIGKILL after the grace period; its inputs run again elsewhere."""
        container.leaving = container.leaving or reason
        interrupt(container)
        asyncio.get_running_loop().call_later(grace_s, kill, container)

    def retire(self, container: Container, reason: str) -> None:
        """Give the container no more inputs; it finishes its own and exits."""
        container.leaving = container.leaving or reason
        if not container.inputs:
            asyncio.get_running_loop().call_later(EXIT_GRACE_S, kill, container)

    def idle_left_s(self, container: Container) -> float | None:
        """Return the seconds it may still wait for work; None if it may stay."""
        pool = container.pool
        if container.inputs or len(available(pool)) <= settings(pool).min_containers:
            return None
        window_s = settings(pool).scaledown_window or DEFAULT_SCALEDOWN_S
        return max(0.0, container.idle_since + window_s - time.monotonic())

    def watch(self, call: Input, container: Container) -> None:
        """End this attempt at the Function's timeout."""
        limit_s = container.function.timeout_secs or DEFAULT_TIMEOUT_S
        loop = asyncio.get_running_loop()
        loop.call_later(limit_s, self.timed_out, call, container, call.attempt)

    def timed_out(self, call: Input, container: Container, attempt: int) -> None:
        if call.output or call.attempt != attempt or container not in call.holders:
            return
        limit_s = container.function.timeout_secs
        message = f"Task's current input {call.id} hit its timeout of {limit_s}s"
        result = Result(status=Result.GENERIC_STATUS_TIMEOUT, exception=message)
        self.work.failed(call, container, result)
        if slots(container.function) > 1:
            container.cancels.append(call.id)
            container.cancel_notifier.notify()
        else:
            self.work.release(call, container)
            self.stop(container, "timeout", TIMEOUT_GRACE_S)


def definition(pool: Pool) -> pb.Function:
    live = (pool.base or pool).live
    if not live:
        return pb.Function()
    return with_options(live.function, pool.options) if pool.base else live.function


def settings(pool: Pool) -> pb.AutoscalerSettings:
    """Return the definition's settings, overridden by `update_autoscaler` since the deploy."""
    function, now = definition(pool), pb.AutoscalerSettings()
    now.CopyFrom(function.autoscaler_settings)
    now.MergeFrom(pool.overrides)
    return now


def slots(function: pb.Function) -> int:
    """Return how many inputs a container runs at once."""
    return function.target_concurrent_inputs or function.max_concurrent_inputs or 1


def available(pool: Pool) -> list[Container]:
    """List containers that take inputs, or will."""
    return [c for c in current(pool) if not c.leaving]


def current(pool: Pool) -> list[Container]:
    """List containers of the live deployment, which `max_containers` limits."""
    return [c for c in pool.containers if c.app_version == pool.app.version]


def container_limit(pool: Pool) -> int:
    return settings(pool).max_containers or MAX_CONTAINERS


def target_containers(pool: Pool) -> int:
    now = settings(pool)
    inputs = len(pool.queue) + sum(len(container.inputs) for container in available(pool))
    busy = math.ceil(inputs / slots(definition(pool)))
    return max(now.min_containers, busy + (now.buffer_containers if busy else 0))


def died_result(container: Container) -> pb.GenericResult:
    return Result(
        status=Result.GENERIC_STATUS_INTERNAL_FAILURE,
        exception=f"Container {container.id} died; its log is {container.log}",
    )
