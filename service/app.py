"""Builds the web process: settings in, FastAPI out. Importing it does nothing."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from functools import partial
from threading import Event

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware

from service import wiring
from service.api import problems
from service.api.bell import Bell
from service.api.events import Bodies
from service.api.fleet import Fleet
from service.api.keyring import Keyring
from service.api.line import Line
from service.api.middleware import BodyLimit, RequestId
from service.api.pace import Pace
from service.api.parts import Parts
from service.api.pools import Pools
from service.api.room import Room
from service.api.routes import content, generate, health, internal, jobs, keys, models, webhooks
from service.api.seen import Seen
from service.background import Repeater, Ticker
from service.domain.errors import Unavailable
from service.domain.ports import Clock, utc_now
from service.egress.client import Egress
from service.lifecycle.rescue import Rescuer
from service.lifecycle.retention import Retention
from service.lifecycle.turn import Turn
from service.settings import Settings
from service.store import deliveries
from service.store import keys as key_rows
from service.store.engine import check_durable
from service.store.schema import check_schema
from service.webhooks.courier import Courier
from service.webhooks.deliver import Sender

_TICK_SECONDS = 1.0


def build(settings: Settings, clock: Clock = utc_now) -> FastAPI:
    """The service as an ASGI app. The database is opened when it starts, not before."""
    bell = Bell()
    app = FastAPI(
        title="Rushes",
        version=wiring.VERSION,
        summary="Text in, video out, on your own GPUs.",
        lifespan=lambda app: _life(app, settings, bell, clock),
        generate_unique_id_function=_operation_id,
        separate_input_output_schemas=False,
        redirect_slashes=False,
    )
    app.state.bell = bell
    app.add_middleware(BodyLimit, most=settings.max_body_bytes)
    app.add_middleware(RequestId)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=_EXPOSED,
    )
    problems.install(app)
    for room in (generate, jobs, internal, content, models, keys, webhooks, health):
        app.include_router(room.router)
    return app


# What a browser lets a page read; `@remotion/media` needs the range headers.
_EXPOSED = [
    "Content-Range", "Accept-Ranges", "Content-Length", "ETag", "Location", "Retry-After",
    "X-Request-Id", "Idempotency-Replayed", "Preference-Applied",
]  # fmt: skip


def _operation_id(route: APIRoute) -> str:
    return route.name


@asynccontextmanager
async def _life(app: FastAPI, settings: Settings, bell: Bell, clock: Clock) -> AsyncIterator[None]:
    check_schema(settings.database_url)
    check_durable(settings.database_url)
    bell.attach(asyncio.get_running_loop())
    owed = Event()
    parts = _parts(settings, bell, owed, clock)
    wiring.first_key(settings, parts.db, clock())
    calls = parts.calls
    rescuer = Rescuer(parts.db, parts.artifacts, parts.terms, parts.limits.longest_lease, calls)
    grace = parts.limits.running_lease.total_seconds()
    turn = Turn(parts.db)
    retention = Retention(parts.db, parts.artifacts, parts.terms.keeping)
    ticks = [rescuer.tick, retention.tick]
    # A file has one process, which need not wait for the turn of one that died.
    our_turn = (lambda _: True) if parts.db.local else turn.ours
    ticker = Ticker(ticks, our_turn, clock, seconds=_TICK_SECONDS, grace=grace)
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
        bell.close()
        ticker.stop()
        courier.stop()
        if sending is not None:
            sending.stop()
        with suppress(Unavailable):  # then its time runs out
            turn.leave()
        parts.db.close()


def _calls(parts: Parts, now: datetime) -> None:
    assert parts.calls is not None, "only where workers are called"
    assert parts.pools is not None, "the same"
    parts.pools.known(now)  # counted again now and then, so that /health need not be asked twice
    parts.calls.tick(now)


def _courier(parts: Parts, owed: Event) -> Courier:
    bodies = Bodies(parts.link_secret, parts.public_url)
    sender = Sender(parts.db, Egress(parts.egress_rules), bodies.render, parts.clock)
    return Courier(parts.db, sender, parts.clock, owed)


def _parts(settings: Settings, bell: Bell, owed: Event, clock: Clock) -> Parts:
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

    db = wiring.database(settings, on_commit)
    artifacts, cards = wiring.artifacts(settings), wiring.cards(settings)
    calls = wiring.calls(settings, db, artifacts)
    return Parts(
        db=db,
        artifacts=artifacts,
        cards=cards,
        limits=wiring.limits(settings),
        terms=wiring.terms(settings),
        clock=clock,
        bell=bell,
        fleet=Fleet(),
        keyring=keyring,
        line=Line(db),
        seen=seen,
        calls=calls,
        pools=None if calls is None else Pools(calls.dispatcher, tuple(cards)),
        due=due,
        owed=owed,
        room=Room(settings.data_dir, settings.min_free_bytes),
        requests=Pace(settings.max_requests_per_second, "requests"),
        submits=Pace(settings.max_submits_per_second, "submits"),
        egress_rules=wiring.egress_rules(settings),
        link_secret=wiring.link_secret(settings),
        worker_token=token.get_secret_value() if token else secrets.token_urlsafe(32),
        public_url=settings.public_url.rstrip("/") or None,
        version=wiring.VERSION,
    )
