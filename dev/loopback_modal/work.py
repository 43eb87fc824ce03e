"""The life of one input: queued, taken, answered, retried, handed back, cancelled."""

from __future__ import annotations

import asyncio
import time

from modal_proto import api_pb2 as pb

from dev.loopback_modal.cloud import Cloud
from dev.loopback_modal.records import Container, Input, Pool

Result = pb.GenericResult
CANCELLED = Result(status=Result.GENERIC_STATUS_TERMINATED, exception="Input was cancelled by user")


class Work:
    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def submit(
        self,
        pool: Pool,
        message: pb.FunctionInput,
        invocation: pb.FunctionCallInvocationType.ValueType,
    ) -> Input:
        new_id = self.cloud.new_id
        given = Input(new_id("in"), new_id("fc"), pool, message, invocation)
        self.cloud.inputs[given.id] = self.cloud.calls[given.call_id] = given
        self.queue(given)
        return given

    def queue(self, given: Input) -> None:
        if not given.output:
            given.pool.queue.append(given)
            self.cloud.changed(given.pool)

    def take(self, container: Container) -> Input | None:
        """The oldest queued input that this container does not run already."""
        queue = container.pool.queue
        given = next((i for i in queue if i.id not in container.inputs), None)
        if given:
            queue.remove(given)
            container.inputs[given.id] = given
            given.holders.append(container)
        return given

    def release(self, given: Input, container: Container) -> None:
        """The container is no longer at work on this input."""
        container.inputs.pop(given.id, None)
        container.idle_since = time.monotonic()
        if container in given.holders:
            given.holders.remove(container)
        self.drop(given)

    def finish(
        self,
        given: Input,
        result: pb.GenericResult,
        data_format: pb.DataFormat.ValueType = pb.DATA_FORMAT_PICKLE,
    ) -> None:
        """The first result counts; a second one, of a redelivered input, is dropped."""
        if given.output:
            return
        given.output = pb.FunctionGetOutputsItem(
            result=result,
            input_id=given.id,
            data_format=data_format,
            retry_count=given.attempt,
            output_created_at=time.time(),
        )
        if given in given.pool.queue:
            given.pool.queue.remove(given)
        given.done.set()
        given.said.notifier.notify()
        self.drop(given)
        self.cloud.changed(given.pool)

    def failed(
        self,
        given: Input,
        container: Container,
        result: pb.GenericResult,
        data_format: pb.DataFormat.ValueType = pb.DATA_FORMAT_PICKLE,
    ) -> None:
        """Runs the input again while `retries=` allows, else lets the call fail."""
        retry = container.function.retry_policy
        if given.cancelled or given.output or given.failures >= retry.retries:
            self.finish(given, result, data_format)
            return
        delay_ms = retry.initial_delay_ms * (retry.backoff_coefficient or 1) ** given.failures
        given.failures += 1
        given.attempt += 1
        capped_s = min(delay_ms, retry.max_delay_ms or 60_000) / 1000
        asyncio.get_running_loop().call_later(capped_s, self.queue, given)

    def hand_back(self, container: Container) -> None:
        """The container is gone: what only it had runs again, elsewhere, from the start."""
        for given in list(container.inputs.values()):
            self.release(given, container)
            if given.output or given.holders:
                continue
            if given.cancelled or given.forgotten:
                self.finish(given, CANCELLED)
            elif given.answering:  # half a response is on its way: it cannot be sent again
                self.finish(given, Result(status=Result.GENERIC_STATUS_INTERNAL_FAILURE))
            else:
                given.attempt += 1
                self.queue(given)

    def cancel(self, given: Input) -> None:
        """A queued input is removed; a running one is interrupted, its container lives on."""
        if given.output:
            return
        given.cancelled = True
        if not given.holders:
            self.finish(given, CANCELLED)
        for container in given.holders:
            container.cancels.append(given.id)
            container.cancel_bell.notify()

    def forget(self, given: Input) -> None:
        """Nobody waits for this input any more: it is not started if it was not yet."""
        given.forgotten = True
        if not given.holders:
            self.finish(given, CANCELLED)
        self.drop(given)

    def drop(self, given: Input) -> None:
        """Lets go of a web request that is over; other results can be asked for later."""
        if given.forgotten and given.output and not given.holders:
            self.cloud.calls.pop(given.call_id, None)
            self.cloud.inputs.pop(given.id, None)

    def give_up(self, pool: Pool, result: pb.GenericResult) -> None:
        """Fails everything that waits for this pool."""
        for given in list(pool.queue):
            self.finish(given, result)
