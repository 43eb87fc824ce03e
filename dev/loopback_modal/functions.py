"""RPCs of Functions and classes: create, look up, bind parameters, stats, scaling."""

from __future__ import annotations

from typing import Any

from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from dev.loopback_modal.cloud import Cloud
from dev.loopback_modal.records import App, Definition, Pool
from dev.loopback_modal.rpc import Caller, rpc
from dev.loopback_modal.scheduler import available, definition, settings, slots


class Functions:
    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.pools_by_key: dict[bytes, Pool] = {}

    @rpc
    async def function_precreate(
        self, request: pb.FunctionPrecreateRequest, _: Caller
    ) -> pb.FunctionPrecreateResponse:
        function = pb.Function()
        copy_shared(request, function)
        pool = self.save_draft(request, function, pb.FunctionData())
        return pb.FunctionPrecreateResponse(
            function_id=pool.id, handle_metadata=handle(pool, draft=True)
        )

    @rpc
    async def function_create(
        self, request: pb.FunctionCreateRequest, _: Caller
    ) -> pb.FunctionCreateResponse:
        """Store a draft; callers see it once the App is published."""
        function, data = pb.Function(), pb.FunctionData()
        if request.function_data.ranked_functions:  # a GPU fallback list comes as ranked functions
            data.CopyFrom(request.function_data)
            function.CopyFrom(data.ranked_functions[0].function)
        else:
            function.CopyFrom(request.function)
            copy_shared(function, data)
            data.ranked_functions.add(rank=0, function=function)
        pool = self.save_draft(request, function, data)
        return pb.FunctionCreateResponse(
            function_id=pool.id,
            function=function,
            function_data=data,
            handle_metadata=handle(pool, draft=True),
        )

    def save_draft(self, request: Any, function: pb.Function, data: pb.FunctionData) -> Pool:
        function_id = request.existing_function_id or self.cloud.new_id("fu")
        app = self.cloud.app(request.app_id)
        pool = self.cloud.pools.setdefault(function_id, Pool(function_id, app))
        function.web_url = data.web_url = web_url(self.cloud, app, function)
        pool.draft = Definition(function, data)
        return pool

    @rpc
    async def class_create(
        self, request: pb.ClassCreateRequest, _: Caller
    ) -> pb.ClassCreateResponse:
        class_id = request.existing_class_id or self.cloud.new_id("cs")
        return pb.ClassCreateResponse(class_id=class_id)

    @rpc
    async def function_get(
        self, request: pb.FunctionGetRequest, _: Caller
    ) -> pb.FunctionGetResponse:
        app = self.cloud.deployed(request.app_name)
        function_id = app.function_ids.get(request.object_tag) if app else None
        pool = self.cloud.pool(function_id or missing(request.app_name, request.object_tag))
        return pb.FunctionGetResponse(
            function_id=pool.id,
            handle_metadata=handle(pool),
            function=pool.live.data if pool.live else None,
        )

    @rpc
    async def function_get_by_id(
        self, request: pb.FunctionGetByIdRequest, _: Caller
    ) -> pb.FunctionGetByIdResponse:
        pool = self.cloud.pool(request.function_id)
        newest = (pool.base or pool).live or (pool.base or pool).draft
        return pb.FunctionGetByIdResponse(
            function=newest.data if newest else None, handle_metadata=handle(pool)
        )

    @rpc
    async def class_get(self, request: pb.ClassGetRequest, _: Caller) -> pb.ClassGetResponse:
        app = self.cloud.deployed(request.app_name)
        class_id = app.class_ids.get(request.object_tag) if app else None
        return pb.ClassGetResponse(
            class_id=class_id or missing(request.app_name, request.object_tag)
        )

    @rpc
    async def function_bind_params(
        self, request: pb.FunctionBindParamsRequest, _: Caller
    ) -> pb.FunctionBindParamsResponse:
        """Return the pool of these parameters and options; equal ones share a pool."""
        key = request.SerializeToString(deterministic=True)
        base = self.cloud.pool(request.function_id)
        if key not in self.pools_by_key:
            pool = Pool(self.cloud.new_id("fu"), base.app, base=base)
            pool.options, pool.parameters = request.function_options, request.serialized_params
            self.pools_by_key[key] = self.cloud.pools[pool.id] = pool
        pool = self.pools_by_key[key]
        return pb.FunctionBindParamsResponse(
            bound_function_id=pool.id, handle_metadata=handle(pool)
        )

    @rpc
    async def function_get_current_stats(
        self, request: pb.FunctionGetCurrentStatsRequest, _: Caller
    ) -> pb.FunctionStats:
        pool = self.cloud.pool(request.function_id)
        running = sum(len(container.inputs) for container in pool.containers)
        return pb.FunctionStats(
            backlog=len(pool.queue),
            num_total_tasks=len(pool.containers),
            num_running_inputs=running,
            input_headroom=max(0, len(available(pool)) * slots(definition(pool)) - running),
        )

    @rpc
    async def function_update_scheduling_params(
        self, request: pb.FunctionUpdateSchedulingParamsRequest, _: Caller
    ) -> pb.FunctionUpdateSchedulingParamsResponse:
        pool = self.cloud.pool(request.function_id)
        pool.overrides.MergeFrom(request.settings)
        self.cloud.changed(pool)
        return pb.FunctionUpdateSchedulingParamsResponse(current_settings=settings(pool))

    @rpc
    async def function_get_scheduling_params(
        self, request: pb.FunctionGetSchedulingParamsRequest, _: Caller
    ) -> pb.FunctionGetSchedulingParamsResponse:
        now = pb.AutoscalerConfiguration(settings=settings(self.cloud.pool(request.function_id)))
        return pb.FunctionGetSchedulingParamsResponse(autoscaler_configuration=now)


def missing(app: str, tag: str) -> str:
    raise GRPCError(Status.NOT_FOUND, f"Lookup failed: '{tag}' in App '{app}' not found")


def copy_shared(source: Any, target: Any) -> None:
    """Copy the fields that both messages have, by name."""
    shared_names = target.DESCRIPTOR.fields_by_name
    for field, value in source.ListFields():
        if field.name not in shared_names or field.name == "ranked_functions":
            continue
        if field.is_repeated or field.message_type:
            getattr(target, field.name).MergeFrom(value)
        else:
            setattr(target, field.name, value)


def web_url(cloud: Cloud, app: App, function: pb.Function) -> str:
    """Return the URL of a web Function, with `-dev` while `modal serve` runs it."""
    config = function.webhook_config
    if not config.type:
        return ""
    name = function.function_name.replace(".", "-").replace("_", "-")
    label = config.requested_suffix or f"{app.name}-{name}"
    suffix = f"-{config.ephemeral_suffix}" if app.ephemeral and config.ephemeral_suffix else ""
    return f"{cloud.http_url}/web/{label}{suffix}"


def handle(pool: Pool, draft: bool = False) -> pb.FunctionHandleMetadata:
    """Build the handle of a Function, or of its draft during a deployment."""
    draft_definition = pool.draft if draft else None
    function = draft_definition.function if draft_definition else definition(pool)
    metadata = pb.FunctionHandleMetadata(definition_id=f"de-{pool.id}", app_id=pool.app.id)
    copy_shared(function, metadata)
    for name, method in function.method_definitions.items():
        method_handle = metadata.method_handle_metadata[name]
        copy_shared(method, method_handle)
        method_handle.is_method, method_handle.use_method_name = True, name
        method_handle.app_id = pool.app.id
    return metadata
