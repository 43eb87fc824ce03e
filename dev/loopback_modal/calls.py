"""Client RPCs of calls: spawn, wait for the result, cancel."""

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
        """Create a call with one input; a repeated idempotency key returns the same call."""
        if len(request.pipelined_inputs) != 1:
            raise GRPCError(Status.UNIMPLEMENTED, "the Modal emulator has no .map and .spawn_map")
        call = self.by_key.get(caller.idempotency_key) or self.submit(request)
        if caller.idempotency_key:
            self.by_key[caller.idempotency_key] = call
        item = pb.FunctionPutInputsResponseItem(
            idx=request.pipelined_inputs[0].idx, input_id=call.id, input_jwt=f"jwt-{call.id}"
        )
        return pb.FunctionMapResponse(
            function_call_id=call.call_id,
            pipelined_inputs=[item],
            function_call_jwt=f"jwt-{call.call_id}",
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
        """Wait for the result; no output and none unfinished means that it has expired."""
        call = self.cloud.calls.get(request.function_call_id)
        if call is None:
            return pb.FunctionGetOutputsResponse(num_unfinished_inputs=0)
        if not call.output:
            try:
                async with asyncio.timeout(request.timeout):
                    await call.done_event.wait()
            except TimeoutError:
                return pb.FunctionGetOutputsResponse(num_unfinished_inputs=1)
        return pb.FunctionGetOutputsResponse(outputs=[call.output] if call.output else [])

    @rpc
    async def function_call_from_id(
        self, request: pb.FunctionCallFromIdRequest, _: Caller
    ) -> pb.FunctionCallFromIdResponse:
        call = self.cloud.call(request.function_call_id)
        metadata = pb.FunctionCallHandleMetadata(app_id=call.pool.app.id, function_id=call.pool.id)
        return pb.FunctionCallFromIdResponse(
            function_call_id=call.call_id, num_inputs=1, metadata=metadata
        )

    @rpc
    async def function_call_cancel(self, request: pb.FunctionCallCancelRequest, _: Caller) -> Empty:
        call = self.cloud.call(request.function_call_id)
        if request.terminate_containers and not call.output:
            call.is_cancelled = True
            holders = list(call.holders)
            self.work.finish(call, CANCELLED)
            for container in holders:
                self.scheduler.stop(container, "cancelled", TERMINATION_GRACE_S)
        else:
            self.work.cancel(call)
        return Empty()

    @rpc
    async def function_call_get_data_out(
        self, request: pb.FunctionCallGetDataRequest, _: Caller
    ) -> AsyncIterator[pb.DataChunk]:
        call = self.cloud.call(request.function_call_id)
        for index in range(request.last_index, 1 << 30):
            yield await call.chunks_out.at(index)
