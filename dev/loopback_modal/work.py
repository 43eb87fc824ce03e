"""The states of an input: queued, running, finished, retried, handed back, cancelled."""

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
        call = Input(new_id("in"), new_id("fc"), pool, message, invocation)
        self.cloud.inputs[call.id] = self.cloud.calls[call.call_id] = call
        self.queue(call)
        return call

    def queue(self, call: Input) -> None:
        if not call.output:
            call.pool.queue.append(call)
            self.cloud.changed(call.pool)

    def take(self, container: Container) -> Input | None:
        """Take the oldest queued input that this container does not run already."""
        queue = container.pool.queue
        call = next((i for i in queue if i.id not in container.inputs), None)
        if call:
            queue.remove(call)
            container.inputs[call.id] = call
            call.holders.append(container)
        return call

    def release(self, call: Input, container: Container) -> None:
        """Note that the container no longer runs this input."""
        container.inputs.pop(call.id, None)
        container.idle_since = time.monotonic()
        if container in call.holders:
            call.holders.remove(container)
        self.drop(call)

    def finish(
        self,
        call: Input,
        result: pb.GenericResult,
        data_format: pb.DataFormat.ValueType = pb.DATA_FORMAT_PICKLE,
    ) -> None:
        """Record the first result; a second one, of a redelivered input, is dropped."""
        if call.output:
            return
        call.output = pb.FunctionGetOutputsItem(
            result=result,
            input_id=call.id,
            data_format=data_format,
            retry_count=call.attempt,
            output_created_at=time.time(),
        )
        if call in call.pool.queue:
            call.pool.queue.remove(call)
        call.done_event.set()
        call.chunks_out.notifier.notify()
        self.drop(call)
        self.cloud.changed(call.pool)

    def failed(
        self,
        call: Input,
        container: Container,
        result: pb.GenericResult,
        data_format: pb.DataFormat.ValueType = pb.DATA_FORMAT_PICKLE,
    ) -> None:
        """Retry the input while `retries=` allows, else fail the call."""
        retry = container.function.retry_policy
        if call.is_cancelled or call.output or call.failures >= retry.retries:
            self.finish(call, result, data_format)
            return
        delay_ms = retry.initial_delay_ms * (retry.backoff_coefficient or 1) ** call.failures
        call.failures += 1
        call.attempt += 1
        capped_s = min(delay_ms, retry.max_delay_ms or 60_000) / 1000
        asyncio.get_running_loop().call_later(capped_s, self.queue, call)

    def hand_back(self, container: Container) -> None:
        """Queue the inputs again that only this container, which has exited, was running."""
        for call in list(container.inputs.values()):
            self.release(call, container)
            if call.output or call.holders:
                continue
            if call.is_cancelled or call.is_forgotten:
                self.finish(call, CANCELLED)
            elif call.answering:  # a partial response cannot be sent again
                self.finish(call, Result(status=Result.GENERIC_STATUS_INTERNAL_FAILURE))
            else:
                call.attempt += 1
                self.queue(call)

    def cancel(self, call: Input) -> None:
        """Remove a queued input, or interrupt a running one; its container stays."""
        if call.output:
            return
        call.is_cancelled = True
        if not call.holders:
            self.finish(call, CANCELLED)
        for container in call.holders:
            container.cancels.append(call.id)
            container.cancel_notifier.notify()

    def forget(self, call: Input) -> None:
        """Mark a web request whose client has gone; it is not started any more."""
        call.is_forgotten = True
        if not call.holders:
            self.finish(call, CANCELLED)
        self.drop(call)

    def drop(self, call: Input) -> None:
        """Delete a finished web request; other results stay available."""
        if call.is_forgotten and call.output and not call.holders:
            self.cloud.calls.pop(call.call_id, None)
            self.cloud.inputs.pop(call.id, None)

    def give_up(self, pool: Pool, result: pb.GenericResult) -> None:
        """Fail every input queued for this pool."""
        for call in list(pool.queue):
            self.finish(call, result)
