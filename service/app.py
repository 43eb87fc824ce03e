"""Build the FastAPI app from the settings."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from service.admin import install as admin
from service.api import docs, problems
from service.api.fast_path import FastPath
from service.api.forwarded import ForwardedHeaders
from service.api.middleware import BodyLimit, Cors, Head, RequestId
from service.api.openapi import describe
from service.api.routes import ROUTERS
from service.domain.clock import ServiceClock
from service.offsite.shipping import Replica
from service.runtime.notifier import Notifier
from service.runtime.standby import Standby
from service.settings import Settings
from service.store.durability import Offsite
from service.store.schema import migrate
from service.wiring import rules, storage
from service.wiring.web import build_uploads, serving

DEFAULT_URL = "http://127.0.0.1:8787"


def build(
    settings: Settings, clock: ServiceClock | None = None, replica: Replica | None = None
) -> FastAPI:
    """Build the ASGI app. The database is opened at startup; with a `replica`, given or from the
    settings, once this process owns it."""
    notifier, clock = Notifier(), clock or ServiceClock()
    app = _App(
        title="Rushes",
        version=rules.VERSION,
        summary="Text in, video out, on your own GPUs.",
        lifespan=lambda app: _lifespan(app, settings, notifier, clock, replica),
        generate_unique_id_function=_operation_id,
        redirect_slashes=False,
        openapi_url=None,  # served by api/docs.py
        max_fast_path_bytes=settings.max_body_bytes,
        trusted_proxies=settings.trusted_proxies,
    )
    app.state.notifier = notifier
    max_media = build_uploads(settings).max_json_bytes
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes, max_media=max_media)
    app.add_middleware(Head)
    app.add_middleware(RequestId)
    app.add_middleware(
        Cors,
        allow_origins=settings.cors_origins,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=_EXPOSED_HEADERS,
    )
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    admin.install(app)
    docs.install(app, settings.public_url.rstrip("/") or None)
    return app


# Headers that scripts may read; `@remotion/media` needs those of ranges.
_EXPOSED_HEADERS = [
    "Content-Range", "Accept-Ranges", "Content-Length", "ETag", "Location", "Retry-After",
    "X-Request-Id", "Idempotency-Replayed", "Preference-Applied",
]  # fmt: skip


class _App(FastAPI):
    """Put the fast path before all of FastAPI's middleware."""

    def __init__(
        self, *, max_fast_path_bytes: int, trusted_proxies: Sequence[str], **options: Any
    ) -> None:
        super().__init__(**options)
        fast_path = FastPath(super().__call__, max_fast_path_bytes)
        self._entry = ForwardedHeaders(fast_path, trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        await self._entry(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = describe(self, "clients", DEFAULT_URL)
        return self.openapi_schema


def _operation_id(route: APIRoute) -> str:
    return route.name


@asynccontextmanager
async def _lifespan(
    app: FastAPI,
    settings: Settings,
    notifier: Notifier,
    clock: ServiceClock,
    remote: Replica | None,
) -> AsyncIterator[None]:
    notifier.attach(asyncio.get_running_loop())
    app.state.runtime = None
    app.state.cards = rules.cards(settings)
    replica = remote or storage.replica(settings)
    if replica is None:
        with serving(app, settings, notifier, clock):
            try:
                yield
            finally:
                notifier.close()
        return
    standby = Standby(
        partial(replica.take, secrets.token_hex(8), clock.wall),
        partial(_serving_restored, app, settings, notifier, clock),
    )
    standby.start()
    try:
        yield
    finally:
        notifier.close()
        await asyncio.to_thread(standby.stop)


@contextmanager
def _serving_restored(
    app: FastAPI, settings: Settings, notifier: Notifier, clock: ServiceClock, offsite: Offsite
) -> Iterator[None]:
    migrate(settings.database_url)
    with serving(app, settings, notifier, clock, offsite):
        yield
    notifier.wake_all()  # waiting requests must learn that the database is closed
