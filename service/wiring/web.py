"""Puts the web process together: parts, ticks and senders, from the settings."""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from threading import Event

from fastapi import FastAPI

from service.api.webhook_body import WebhookBodies
from service.domain import ids
from service.domain.clock import ServiceClock
from service.domain.errors import Unavailable
from service.domain.ports import Offsite
from service.egress.client import Egress
from service.lifecycle.leader import Leadership
from service.lifecycle.rescue import Rescuer
from service.lifecycle.retention import Retention
from service.lifecycle.timekeeper import Timekeeper
from service.lifecycle.unserved import Unserved
from service.runtime.containers import ContainerPools
from service.runtime.disk_space import DiskSpace
from service.runtime.fleet import Fleet
from service.runtime.job_cache import JobCache
from service.runtime.key_cache import KeyCache
from service.runtime.key_slots import KeySlots
from service.runtime.notifier import Notifier
from service.runtime.queue_forecast import QueueForecast
from service.runtime.rate_limit import RateLimit
from service.runtime.runtime import Runtime
from service.runtime.ticker import Repeater, Ticker
from service.runtime.uploads import Uploads
from service.runtime.wait_slots import WaitSlots
from service.settings import Settings
from service.store import deliveries, timeline
from service.store import keys as key_rows
from service.store.engine import check_durable, check_sessions
from service.store.schema import check_schema
from service.webhooks.courier import Courier
from service.webhooks.deliver import Sender
from service.wiring import calls as wiring_calls
from service.wiring import rules, storage
from service.wiring import secrets as wiring_secrets

_TICK_SECONDS = 1.0


@contextmanager
def _serving(
    app: FastAPI,
    settings: Settings,
    bell: Notifier,
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
    turn = Leadership(parts.db)
    keeper = _timekeeper(parts, turn, clock)
    wiring_secrets.first_key(settings, parts.db, clock())
    unserved = Unserved(parts.db, parts.terms, shared=not parts.db.local)
    calls = parts.calls
    rescuer = Rescuer(parts.db, parts.artifacts, parts.terms, parts.limits.max_lease, calls)
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


def _timekeeper(parts: Runtime, turn: Leadership, clock: ServiceClock) -> Timekeeper:
    """With it ids and deadlines go on from what the database has."""
    for id_ in parts.db.read(timeline.newest_ids):
        ids.stay_above(id_)
    # A file has one process, which need not wait for the turn of one that died.
    keeper = Timekeeper(parts.db, clock, None if parts.db.local else turn)
    keeper.begin()
    return keeper


def _incoming(settings: Settings) -> Uploads:
    return Uploads(
        folder=settings.data_dir / "incoming",
        max_bytes=settings.max_body_bytes,
        max_image_bytes=settings.max_image_bytes,
        max_video_bytes=settings.max_video_bytes,
    )


def _calls(parts: Runtime, now: datetime) -> None:
    assert parts.calls is not None, "only where workers are called"
    assert parts.pools is not None, "the same"
    # Counted again now and then, so that /health need not be asked twice.
    parts.pools.known(parts.clock.passed())
    parts.calls.tick(now)


def _courier(parts: Runtime, owed: Event) -> Courier:
    bodies = WebhookBodies(parts.link_secret, parts.public_url)
    sender = Sender(parts.db, Egress(parts.egress_rules), bodies.render, parts.clock)
    return Courier(parts.db, sender, parts.clock, owed)


def _parts(
    settings: Settings, bell: Notifier, owed: Event, clock: ServiceClock, offsite: Offsite | None
) -> Runtime:
    token = settings.worker_token
    seen, keyring, due = JobCache(), KeyCache(), Event()

    def on_commit(topics: Sequence[str]) -> None:
        seen.forget(topics)
        if key_rows.TOPIC in topics:
            keyring.forget()
        if deliveries.TOPIC in topics:
            owed.set()
        if any(topic.startswith("queue:") for topic in topics):
            due.set()
        bell.ring(topics)

    db = storage.database(settings, on_commit, offsite)
    artifacts, cards = storage.artifacts(settings), rules.cards(settings)
    calls, limits = wiring_calls.calls(settings, db, artifacts), rules.limits(settings)
    return Runtime(
        db=db,
        artifacts=artifacts,
        cards=cards,
        limits=limits,
        terms=rules.terms(settings),
        clock=clock,
        bell=bell,
        fleet=Fleet(),
        keyring=keyring,
        line=QueueForecast(db),
        seen=seen,
        waits=WaitSlots(limits.max_waits),
        list_shares=KeySlots("lists", max_at_once=2, max_seconds=10),
        inline_shares=KeySlots("inline videos", max_at_once=8, max_seconds=30),
        calls=calls,
        pools=None if calls is None else ContainerPools(calls.dispatcher, tuple(cards)),
        due=due,
        owed=owed,
        room=DiskSpace(settings.data_dir, settings.min_free_bytes),
        incoming=_incoming(settings),
        requests=RateLimit(settings.max_requests_per_second, "requests"),
        submits=RateLimit(settings.max_submits_per_second, "submits"),
        egress_rules=rules.egress_rules(settings),
        link_secret=wiring_secrets.link_secret(settings),
        worker_token=token.get_secret_value() if token else secrets.token_urlsafe(32),
        public_url=settings.public_url.rstrip("/") or None,
        version=rules.VERSION,
    )
