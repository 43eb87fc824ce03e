"""Builds the web process: settings in, FastAPI out. Importing it does nothing."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from functools import partial
from threading import Event
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from service import wiring
from service.api import docs, problems
from service.api.bell import Bell
from service.api.description import describe
from service.api.events import Bodies
from service.api.express import Express
from service.api.fleet import Fleet
from service.api.forwarded import Forwarded
from service.api.incoming import Incoming
from service.api.keyring import Keyring
from service.api.line import Line
from service.api.middleware import BodyLimit, Cors, Head, RequestId
from service.api.pace import Pace
from service.api.parts import Parts
from service.api.pools import Pools
from service.api.room import Room
from service.api.routes import (
    content,
    generate,
    health,
    internal,
    jobs,
    keys,
    models,
    usage,
    webhooks,
)
from service.api.seen import Seen
from service.api.shares import Shares
from service.api.waits import Waits
from service.background import Repeater, Ticker
from service.domain import ids
from service.domain.clock import ServiceClock
from service.domain.errors import Unavailable
from service.domain.ports import Offsite
from service.egress.client import Egress
from service.lifecycle.rescue import Rescuer
from service.lifecycle.retention import Retention
from service.lifecycle.timekeeper import Timekeeper
from service.lifecycle.turn import Turn
from service.lifecycle.unserved import Unserved
from service.offsite.tenure import Home
from service.settings import Settings
from service.standby import Standby
from service.store import deliveries, timeline
from service.store import keys as key_rows
from service.store.engine import check_durable, check_sessions
from service.store.schema import check_schema, migrate
from service.webhooks.courier import Courier
from service.webhooks.deliver import Sender

_TICK_SECONDS = 1.0
DEFAULT_URL = "http://127.0.0.1:8787"


def build(
    settings: Settings, clock: ServiceClock | None = None, home: Home | None = None
) -> FastAPI:
    """The service as an ASGI app. The database is opened when it starts, not before; one that lasts
    elsewhere, in a `home` that the settings or the caller name, once this process owns it."""
    bell, clock = Bell(), clock or ServiceClock()
    app = _App(
        title="Rushes",
        version=wiring.VERSION,
        summary="Text in, video out, on your own GPUs.",
        lifespan=lambda app: _life(app, settings, bell, clock, home),
        generate_unique_id_function=_operation_id,
        redirect_slashes=False,
        openapi_url=None,  # it and its pages are ours: api/docs.py
        most_express_bytes=settings.max_body_bytes,
        trusted_proxies=settings.trusted_proxies,
    )
    app.state.bell = bell
    app.add_middleware(
        BodyLimit, most=settings.max_body_bytes, most_media=_incoming(settings).most_json_bytes
    )
    app.add_middleware(Head)
    app.add_middleware(RequestId)
    app.add_middleware(
        Cors,
        allow_origins=settings.cors_origins,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=_EXPOSED,
    )
    problems.install(app)
    for room in (generate, jobs, internal, content, models, usage, keys, webhooks, health):
        app.include_router(room.router)
    docs.install(app, settings.public_url.rstrip("/") or None)
    return app


# What a browser lets a page read; `@remotion/media` needs the range headers.
_EXPOSED = [
    "Content-Range", "Accept-Ranges", "Content-Length", "ETag", "Location", "Retry-After",
    "X-Request-Id", "Idempotency-Replayed", "Preference-Applied",
]  # fmt: skip


class _App(FastAPI):
    """Lets plain requests pass before all of FastAPI's middleware."""

    def __init__(
        self, *, most_express_bytes: int, trusted_proxies: Sequence[str], **told: Any
    ) -> None:
        super().__init__(**told)
        express = Express(super().__call__, most_express_bytes)
        self._entrance = Forwarded(express, trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        await self._entrance(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = describe(self, "clients", DEFAULT_URL)
        return self.openapi_schema


def _operation_id(route: APIRoute) -> str:
    return route.name


@asynccontextmanager
async def _life(
    app: FastAPI, settings: Settings, bell: Bell, clock: ServiceClock, home: Home | None
) -> AsyncIterator[None]:
    bell.attach(asyncio.get_running_loop())
    app.state.parts = None
    app.state.cards = wiring.cards(settings)
    home = home or wiring.home(settings)
    if home is None:
        with _serving(app, settings, bell, clock):
            try:
                yield
            finally:
                bell.close()
        return
    standby = Standby(
        partial(home.take, secrets.token_hex(8), clock.wall),
        partial(_serving_restored, app, settings, bell, clock),
    )
    standby.start()
    try:
        yield
    finally:
        bell.close()
        await asyncio.to_thread(standby.stop)


@contextmanager
def _serving_restored(
    app: FastAPI, settings: Settings, bell: Bell, clock: ServiceClock, offsite: Offsite
) -> Iterator[None]:
    migrate(settings.database_url)
    with _serving(app, settings, bell, clock, offsite):
        yield
    bell.stir()  # whoever waits is to hear that it is over


@contextmanager
def _serving(
    app: FastAPI,
    settings: Settings,
    bell: Bell,
    clock: ServiceClock,
    offsite: Offsite | None = None,
) -> Iterator[None]:
    """The database is open, the ticks run, and requests are served."""
    check_sessions(settings.database_url)
    check_schema(settings.database_url)
    check_durable(settings.database_url)
    owed = Event()
    parts = _parts(settings, bell, owed, clock, offsite)
    parts.incoming.clear()
    turn = Turn(parts.db)
    keeper = _timekeeper(parts, turn, clock)
    wiring.first_key(settings, parts.db, clock())
    unserved = Unserved(parts.db, parts.terms, shared=not parts.db.local)
    calls = parts.calls
    rescuer = Rescuer(parts.db, parts.artifacts, parts.terms, parts.limits.longest_lease, calls)
    grace = parts.limits.running_lease.total_seconds()
    retention = Retention(parts.db, parts.artifacts, parts.terms.keeping)
    ticks = [unserved.tick, rescuer.tick, lambda now: retention.tick(keeper.certain(now))]

    def leads() -> bool:
        unserved.say_what_is_served(clock())
        return keeper.leads()

    ticker = Ticker(ticks, leads, clock, seconds=_TICK_SECONDS, grace=grace)
    courier = _courier(parts, owed)
    sending = None if calls is None else Repeater(partial(_calls, parts), parts.due, clock)
    app.state.parts = parts
    ticker.start()
    courier.start()
    if sending is not None:
        sending.start()
    try:
        yield
    finally:
        app.state.parts = None
        ticker.stop()
        courier.stop()
        if sending is not None:
            sending.stop()
        with suppress(Unavailable):  # then its time runs out
            turn.leave()
        parts.db.close()
        parts.seen.clear()


def _timekeeper(parts: Parts, turn: Turn, clock: ServiceClock) -> Timekeeper:
    """With it ids and deadlines go on from what the database has."""
    for id_ in parts.db.read(timeline.newest_ids):
        ids.stay_above(id_)
    # A file has one process, which need not wait for the turn of one that died.
    keeper = Timekeeper(parts.db, clock, None if parts.db.local else turn)
    keeper.begin()
    return keeper


def _incoming(settings: Settings) -> Incoming:
    return Incoming(
        folder=settings.data_dir / "incoming",
        most_bytes=settings.max_body_bytes,
        most_image_bytes=settings.max_image_bytes,
        most_video_bytes=settings.max_video_bytes,
    )


def _calls(parts: Parts, now: datetime) -> None:
    assert parts.calls is not None, "only where workers are called"
    assert parts.pools is not None, "the same"
    # Counted again now and then, so that /health need not be asked twice.
    parts.pools.known(parts.clock.passed())
    parts.calls.tick(now)


def _courier(parts: Parts, owed: Event) -> Courier:
    bodies = Bodies(parts.link_secret, parts.public_url)
    sender = Sender(parts.db, Egress(parts.egress_rules), bodies.render, parts.clock)
    return Courier(parts.db, sender, parts.clock, owed)


def _parts(
    settings: Settings, bell: Bell, owed: Event, clock: ServiceClock, offsite: Offsite | None
) -> Parts:
    token = settings.worker_token
    seen, keyring, due = Seen(), Keyring(), Event()

    def on_commit(topics: Sequence[str]) -> None:
        seen.forget(topics)
        if key_rows.TOPIC in topics:
            keyring.forget()
        if deliveries.TOPIC in topics:
            owed.set()
        if any(topic.startswith("queue:") for topic in topics):
            due.set()
        bell.ring(topics)

    db = wiring.database(settings, on_commit, offsite)
    artifacts, cards = wiring.artifacts(settings), wiring.cards(settings)
    calls, limits = wiring.calls(settings, db, artifacts), wiring.limits(settings)
    return Parts(
        db=db,
        artifacts=artifacts,
        cards=cards,
        limits=limits,
        terms=wiring.terms(settings),
        clock=clock,
        bell=bell,
        fleet=Fleet(),
        keyring=keyring,
        line=Line(db),
        seen=seen,
        waits=Waits(limits.max_waits),
        list_shares=Shares("lists", max_at_once=2, max_seconds=10),
        inline_shares=Shares("inline videos", max_at_once=8, max_seconds=30),
        calls=calls,
        pools=None if calls is None else Pools(calls.dispatcher, tuple(cards)),
        due=due,
        owed=owed,
        room=Room(settings.data_dir, settings.min_free_bytes),
        incoming=_incoming(settings),
        requests=Pace(settings.max_requests_per_second, "requests"),
        submits=Pace(settings.max_submits_per_second, "submits"),
        egress_rules=wiring.egress_rules(settings),
        link_secret=wiring.link_secret(settings),
        worker_token=token.get_secret_value() if token else secrets.token_urlsafe(32),
        public_url=settings.public_url.rstrip("/") or None,
        version=wiring.VERSION,
    )
