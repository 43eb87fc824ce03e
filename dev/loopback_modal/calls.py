"""Calls as their clients see them: spawn, wait for the result, cancel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from dev.loopback_modal.cloud import Cloud
from dev.loopback_modal.records import Input
from dev.loopback_modal.rpc import Caller, Empty, rpc
from dev.loopback_modal.scheduler import Scheduler
from dev.loopback_modal.work import CANCELLED, Work

TERMINATION_GRACE_S = 5.0


class Calls:
    def __init__(self, cloud: Cloud, work: Work, scheduler: Scheduler) -> None:
        self.cloud = cloud
        self.work = work
        self.scheduler = scheduler
        self.by_key: dict[str, Input] = {}

    @rpc
    async def function_map(
        self, request: pb.FunctionMapRequest, caller: Caller
    ) -> pb.FunctionMapResponse:
        """One input, one call. The same idempotency key, sent again, gives the same call."""
        if len(request.pipelined_inputs) != 1:
            raise GRPCError(Status.UNIMPLEMENTED, "the loopback Modal has no .map and .spawn_map")
        given = self.by_key.get(caller.idempotency_key) or self.submit(request)
        if caller.idempotency_key:
            self.by_key[caller.idempotency_key] = given
        item = pb.FunctionPutInputsResponseItem(
            idx=request.pipelined_inputs[0].idx, input_id=given.id, input_jwt=f"jwt-{given.id}"
        )
        return pb.FunctionMapResponse(
            function_call_id=given.call_id,
            pipelined_inputs=[item],
            function_call_jwt=f"jwt-{given.call_id}",
            max_inputs_outstanding=1000,
        )

    def submit(self, request: pb.FunctionMapRequest) -> Input:
        pool = self.cloud.pool(request.function_id)
        if pool.app.stopped:
            raise GRPCError(Status.FAILED_PRECONDITION, f"App '{pool.app.name}' is stopped")
        message = request.pipelined_inputs[0].input
        return self.work.submit(pool, message, request.function_call_invocation_type)

    @rpc
    async def function_get_outputs(
        self, request: pb.FunctionGetOutputsRequest, _: Caller
    ) -> pb.FunctionGetOutputsResponse:
        """No output and nothing unfinished is how Modal says that a result has expired."""
        given = self.cloud.calls.get(request.function_call_id)
        if given is None:
            return pb.FunctionGetOutputsResponse(num_unfinished_inputs=0)
        if not given.output:
            try:
                async with asyncio.timeout(request.timeout):
                    await given.done.wait()
            except TimeoutError:
                return pb.FunctionGetOutputsResponse(num_unfinished_inputs=1)
        return pb.FunctionGetOutputsResponse(outputs=[given.output] if given.output else [])

    @rpc
    async def function_call_from_id(
        self, request: pb.FunctionCallFromIdRequest, _: Caller
    ) -> pb.FunctionCallFromIdResponse:
        given = self.cloud.call(request.function_call_id)
        metadata = pb.FunctionCallHandleMetadata(
            app_id=given.pool.app.id, function_id=given.pool.id
        )
        return pb.FunctionCallFromIdResponse(
            function_call_id=given.call_id, num_inputs=1, metadata=metadata
        )

    @rpc
    async def function_call_cancel(self, request: pb.FunctionCallCancelRequest, _: Caller) -> Empty:
        given = self.cloud.call(request.function_call_id)
        if request.terminate_containers and not given.output:
            given.cancelled = True
            holders = list(given.holders)
            self.work.finish(given, CANCELLED)
            for container in holders:
                self.scheduler.stop(container, "cancelled", TERMINATION_GRACE_S)
        else:
            self.work.cancel(given)
        return Empty()

    @rpc
    async def function_call_get_data_out(
        self, request: pb.FunctionCallGetDataRequest, _: Caller
    ) -> AsyncIterator[pb.DataChunk]:
        given = self.cloud.call(request.function_call_id)
        for index in range(request.last_index, 1 << 30):
            yield await given.said.at(index)
