"""RPCs of containers: get inputs and request data, put outputs, data and failures."""

from __future__ import annotations

from collections.abc import AsyncIterator

from modal_proto import api_pb2 as pb

from dev.loopback_modal.cloud import Cloud
from dev.loopback_modal.records import Container, Input
from dev.loopback_modal.rpc import Caller, Empty, rpc
from dev.loopback_modal.scheduler import Scheduler
from dev.loopback_modal.work import CANCELLED, Result, Work

# Modal's runtime beats every 15 s, and gives up on a beat that takes 15.1 s.
HEARTBEAT_S = 14.5
KILL = pb.FunctionGetInputsResponse(inputs=[pb.FunctionGetInputsItem(kill_switch=True)])


class Inputs:
    def __init__(self, cloud: Cloud, work: Work, scheduler: Scheduler) -> None:
        self.cloud = cloud
        self.work = work
        self.scheduler = scheduler

    @rpc
    async def container_hello(self, _: Empty, __: Caller) -> Empty:
        return Empty()

    @rpc
    async def container_heartbeat(
        self, _: pb.ContainerHeartbeatRequest, caller: Caller
    ) -> pb.ContainerHeartbeatResponse:
        """Long poll that returns cancellations at once."""
        container = self.cloud.container(caller.task_id)
        if not container.cancels:
            await container.cancel_notifier.wait(HEARTBEAT_S)
        cancels, container.cancels = container.cancels, []
        if not cancels:
            return pb.ContainerHeartbeatResponse()
        event = pb.CancelInputEvent(input_ids=cancels)
        return pb.ContainerHeartbeatResponse(cancel_input_event=event)

    @rpc
    async def function_get_dynamic_concurrency(
        self, request: pb.FunctionGetDynamicConcurrencyRequest, _: Caller
    ) -> pb.FunctionGetDynamicConcurrencyResponse:
        return pb.FunctionGetDynamicConcurrencyResponse(concurrency=request.max_concurrency)

    @rpc
    async def function_get_inputs(
        self, _: pb.FunctionGetInputsRequest, caller: Caller
    ) -> pb.FunctionGetInputsResponse:
        """Wait for work; return the kill switch when the container must exit."""
        container = self.cloud.container(caller.task_id)
        container.ready = True
        while True:
            self.retire_if_due(container)
            if container.leaving:
                return KILL
            if call := self.work.take(container):
                self.scheduler.watch(call, container)
                return pb.FunctionGetInputsResponse(inputs=[item(call)])
            await container.pool.notifier.wait(self.scheduler.idle_left_s(container))

    def retire_if_due(self, container: Container) -> None:
        if container.app_version != container.pool.app.version:
            self.scheduler.retire(container, "redeployed")
        elif not container.pool.queue and self.scheduler.idle_left_s(container) == 0:
            self.scheduler.retire(container, "idle")

    @rpc
    async def function_put_outputs(
        self, request: pb.FunctionPutOutputsRequest, caller: Caller
    ) -> Empty:
        container = self.cloud.container(caller.task_id)
        for output in request.outputs:
            if call := self.cloud.inputs.get(output.input_id):
                self.accept_output(call, container, output)
        return Empty()

    def accept_output(
        self, call: Input, container: Container, output: pb.FunctionPutOutputsItem
    ) -> None:
        """Record the output of the current attempt; an older attempt's is dropped."""
        self.work.release(call, container)
        container.pool.crashes_in_a_row = 0
        if output.retry_count == call.attempt:
            if output.result.status == Result.GENERIC_STATUS_FAILURE:
                self.work.failed(call, container, output.result, output.data_format)
            elif output.result.status == Result.GENERIC_STATUS_TERMINATED:
                self.work.finish(call, CANCELLED)
            else:
                self.work.finish(call, output.result, output.data_format)
        self.cloud.changed(container.pool)

    @rpc
    async def task_result(self, request: pb.TaskResultRequest, caller: Caller) -> Empty:
        """Record an exception on import or in @enter, of which the container is about to die."""
        self.cloud.container(caller.task_id).result = request.result
        return Empty()

    @rpc
    async def function_call_put_data_out(
        self, request: pb.FunctionCallPutDataRequest, _: Caller
    ) -> Empty:
        call = self.cloud.calls.get(request.function_call_id)
        if call and not call.output:
            call.answering = True
            call.chunks_out.extend(list(request.data_chunks))
        return Empty()

    @rpc
    async def function_call_get_data_in(
        self, request: pb.FunctionCallGetDataRequest, _: Caller
    ) -> AsyncIterator[pb.DataChunk]:
        call = self.cloud.call(request.function_call_id)
        for index in range(request.last_index, 1 << 30):
            yield await call.chunks_in.at(index)

    @rpc
    async def task_list(self, request: pb.TaskListRequest, _: Caller) -> pb.TaskListResponse:
        tasks = [c for c in self.cloud.containers.values() if request.app_id in ("", c.pool.app.id)]
        return pb.TaskListResponse(tasks=[stats(container) for container in tasks])

    @rpc
    async def container_stop(
        self, request: pb.ContainerStopRequest, _: Caller
    ) -> pb.ContainerStopResponse:
        container = self.cloud.containers.get(request.task_id)
        if container and request.graceful:
            self.scheduler.retire(container, "asked to leave")
            self.cloud.changed(container.pool)
        elif container:
            self.scheduler.stop(container, "stopped")
        return pb.ContainerStopResponse()


def item(call: Input) -> pb.FunctionGetInputsItem:
    return pb.FunctionGetInputsItem(
        input_id=call.id,
        input=call.message,
        function_call_id=call.call_id,
        retry_count=call.attempt,
        function_call_invocation_type=call.invocation,
    )


def stats(container: Container) -> pb.TaskStats:
    return pb.TaskStats(
        task_id=container.id,
        app_id=container.pool.app.id,
        app_description=container.pool.app.name,
        started_at=container.enqueued_at,
        enqueued_at=container.enqueued_at,
    )
