"""RPCs of sessions and Apps: hello, create, publish, list, stop, and logs for `modal run`."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator

from modal_proto import api_pb2 as pb

from dev.loopback_modal.cloud import Cloud
from dev.loopback_modal.functions import handle
from dev.loopback_modal.logs import Follower
from dev.loopback_modal.records import App, Pool
from dev.loopback_modal.rpc import Caller, Empty, rpc
from dev.loopback_modal.scheduler import Scheduler

ENVIRONMENT = "main"


class Apps:
    def __init__(self, cloud: Cloud, scheduler: Scheduler) -> None:
        self.cloud = cloud
        self.scheduler = scheduler

    @rpc
    async def client_hello(self, _: Empty, __: Caller) -> pb.ClientHelloResponse:
        return pb.ClientHelloResponse()

    @rpc
    async def auth_token_get(
        self, _: pb.AuthTokenGetRequest, __: Caller
    ) -> pb.AuthTokenGetResponse:
        parts = [{"alg": "none"}, {"exp": int(time.time()) + 3600}]
        segments = [base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts]
        return pb.AuthTokenGetResponse(
            token=b".".join([*segments, b"x"]).replace(b"=", b"").decode()
        )

    @rpc
    async def environment_get_or_create(
        self, request: pb.EnvironmentGetOrCreateRequest, _: Caller
    ) -> pb.EnvironmentGetOrCreateResponse:
        settings = pb.EnvironmentSettings(image_builder_version="2025.06")
        metadata = pb.EnvironmentMetadata(
            name=request.deployment_name or ENVIRONMENT, settings=settings
        )
        return pb.EnvironmentGetOrCreateResponse(environment_id="en-1", metadata=metadata)

    @rpc
    async def app_get_by_deployment_name(
        self, request: pb.AppGetByDeploymentNameRequest, _: Caller
    ) -> pb.AppGetByDeploymentNameResponse:
        app = self.cloud.deployed(request.name)
        answer = pb.AppGetByDeploymentNameResponse(environment_name=ENVIRONMENT)
        if app:
            answer.app_id = app.id
            answer.lifecycle.CopyFrom(lifecycle(app))
        return answer

    @rpc
    async def app_create(self, request: pb.AppCreateRequest, _: Caller) -> pb.AppCreateResponse:
        app = App(self.cloud.new_id("ap"), request.description, request.app_state)
        self.cloud.apps[app.id] = app
        return pb.AppCreateResponse(app_id=app.id, app_page_url=self.page(app))

    @rpc
    async def app_get_layout(
        self, request: pb.AppGetLayoutRequest, _: Caller
    ) -> pb.AppGetLayoutResponse:
        return pb.AppGetLayoutResponse(
            app_layout=layout(self.cloud, self.cloud.app(request.app_id))
        )

    @rpc
    async def app_publish(self, request: pb.AppPublishRequest, _: Caller) -> pb.AppPublishResponse:
        """Make the deployed definitions live for callers and new containers."""
        app = self.cloud.app(request.app_id)
        app.name = request.name or app.name
        app.state = request.app_state
        app.version += 1
        app.function_ids, app.class_ids = dict(request.function_ids), dict(request.class_ids)
        for pool in self.cloud.pools_of(app):
            publish(pool, is_kept=pool.id in app.function_ids.values())
        deployed_at = time.time()
        for pool in self.cloud.pools_of(app):
            self.cloud.changed(pool)
        return pb.AppPublishResponse(url=self.page(app), deployed_at=deployed_at)

    @rpc
    async def app_heartbeat(self, _: pb.AppHeartbeatRequest, __: Caller) -> Empty:
        return Empty()

    @rpc
    async def app_client_disconnect(
        self, request: pb.AppClientDisconnectRequest, _: Caller
    ) -> Empty:
        """Stop an ephemeral App, of `modal run`, when its client disconnects."""
        app = self.cloud.app(request.app_id)
        if app.ephemeral:
            self.stop(app)
        return Empty()

    @rpc
    async def app_stop(self, request: pb.AppStopRequest, _: Caller) -> Empty:
        self.stop(self.cloud.app(request.app_id))
        return Empty()

    @rpc
    async def app_get_lifecycle(
        self, request: pb.AppGetLifecycleRequest, _: Caller
    ) -> pb.AppGetLifecycleResponse:
        return pb.AppGetLifecycleResponse(lifecycle=lifecycle(self.cloud.app(request.app_id)))

    @rpc
    async def app_list(self, _: pb.AppListRequest, __: Caller) -> pb.AppListResponse:
        return pb.AppListResponse(apps=[self.item(app) for app in self.cloud.apps.values()])

    @rpc
    async def app_get_logs(
        self, request: pb.AppGetLogsRequest, _: Caller
    ) -> AsyncIterator[pb.TaskLogsBatch]:
        app = self.cloud.app(request.app_id)
        async for batch in Follower(self.cloud, app, request.last_entry_id).follow(request.timeout):
            yield batch

    def stop(self, app: App) -> None:
        app.state, app.stopped_at = pb.APP_STATE_STOPPED, time.time()
        for container in self.cloud.containers_of(app):
            self.scheduler.stop(container, "app stopped")

    def item(self, app: App) -> pb.AppListResponse.AppListItem:
        return pb.AppListResponse.AppListItem(
            app_id=app.id,
            name=app.name,
            description=app.name,
            state=app.state,
            created_at=app.created_at,
            stopped_at=app.stopped_at,
            n_running_tasks=len(self.cloud.containers_of(app)),
        )

    def page(self, app: App) -> str:
        return f"{self.cloud.http_url}/__loopback__/calls?app={app.name}"


def publish(pool: Pool, is_kept: bool) -> None:
    """Make the draft live; reset `update_autoscaler` and the count of crashes."""
    pool.live = (pool.draft or pool.live) if is_kept else None
    pool.overrides.Clear()
    pool.crashes_in_a_row, pool.not_before = 0, 0.0


def lifecycle(app: App) -> pb.AppLifecycle:
    return pb.AppLifecycle(
        app_state=app.state,
        created_at=app.created_at,
        version=app.version,
        stopped_at=app.stopped_at,
    )


def layout(cloud: Cloud, app: App) -> pb.AppLayout:
    """Return the App's objects with their handles, and the dependencies of its Functions."""
    objects: dict[str, pb.Object] = {}
    for function_id in app.function_ids.values():
        pool = cloud.pool(function_id)
        objects[pool.id] = pb.Object(object_id=pool.id, function_handle_metadata=handle(pool))
        for dependency in definition_of(pool).object_dependencies:
            objects.setdefault(dependency.object_id, pb.Object(object_id=dependency.object_id))
    for class_id in app.class_ids.values():
        metadata = pb.ClassHandleMetadata()
        objects[class_id] = pb.Object(object_id=class_id, class_handle_metadata=metadata)
    return pb.AppLayout(
        function_ids=app.function_ids, class_ids=app.class_ids, objects=list(objects.values())
    )


def definition_of(pool: Pool) -> pb.Function:
    definition = pool.live or pool.draft
    return definition.function if definition else pb.Function()
