"""What containers ask: the next input, data of a request; and tell: outputs, data, failures."""

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
        """A long poll that brings cancellations at once."""
        container = self.cloud.container(caller.task_id)
        if not container.cancels:
            await container.cancel_bell.wait(HEARTBEAT_S)
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
        """Waits for work; answers with the kill switch when the container shall leave."""
        container = self.cloud.container(caller.task_id)
        container.ready = True
        while True:
            self.retire_if_due(container)
            if container.leaving:
                return KILL
            if given := self.work.take(container):
                self.scheduler.watch(given, container)
                return pb.FunctionGetInputsResponse(inputs=[item(given)])
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
            if given := self.cloud.inputs.get(output.input_id):
                self.answered(given, container, output)
        return Empty()

    def answered(
        self, given: Input, container: Container, output: pb.FunctionPutOutputsItem
    ) -> None:
        """Takes the answer of the attempt that counts; an older attempt's is dropped."""
        self.work.release(given, container)
        container.pool.crashes_in_a_row = 0
        if output.retry_count == given.attempt:
            if output.result.status == Result.GENERIC_STATUS_FAILURE:
                self.work.failed(given, container, output.result, output.data_format)
            elif output.result.status == Result.GENERIC_STATUS_TERMINATED:
                self.work.finish(given, CANCELLED)
            else:
                self.work.finish(given, output.result, output.data_format)
        self.cloud.changed(container.pool)

    @rpc
    async def task_result(self, request: pb.TaskResultRequest, caller: Caller) -> Empty:
        """An exception on import or in @enter: the container is about to die of it."""
        self.cloud.container(caller.task_id).result = request.result
        return Empty()

    @rpc
    async def function_call_put_data_out(
        self, request: pb.FunctionCallPutDataRequest, _: Caller
    ) -> Empty:
        given = self.cloud.calls.get(request.function_call_id)
        if given and not given.output:
            given.answering = True
            given.said.extend(list(request.data_chunks))
        return Empty()

    @rpc
    async def function_call_get_data_in(
        self, request: pb.FunctionCallGetDataRequest, _: Caller
    ) -> AsyncIterator[pb.DataChunk]:
        given = self.cloud.call(request.function_call_id)
        for index in range(request.last_index, 1 << 30):
            yield await given.heard.at(index)

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


def item(given: Input) -> pb.FunctionGetInputsItem:
    return pb.FunctionGetInputsItem(
        input_id=given.id,
        input=given.message,
        function_call_id=given.call_id,
        retry_count=given.attempt,
        function_call_invocation_type=given.invocation,
    )


def stats(container: Container) -> pb.TaskStats:
    return pb.TaskStats(
        task_id=container.id,
        app_id=container.pool.app.id,
        app_description=container.pool.app.name,
        started_at=container.enqueued_at,
        enqueued_at=container.enqueued_at,
    )
