"""What a route is handed: the service's parts, and who is calling."""

import asyncio
import hmac
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.security.base import SecurityBase
from starlette.concurrency import run_in_threadpool

from service.api.bell import Bell
from service.api.fleet import Fleet
from service.api.keyring import Keyring
from service.api.line import Line
from service.api.links import Links
from service.api.seen import Seen
from service.domain.card import ModelCard
from service.domain.errors import FieldError, Forbidden, RequestRefused, Unauthenticated
from service.domain.job import Job, JobId, KeyId
from service.domain.key import Key, opens, prefix_of
from service.domain.limits import Limits
from service.domain.ports import ArtifactStore, Clock
from service.domain.price import Terms
from service.lifecycle.find import find
from service.store import keys
from service.store.engine import Database, Transaction

T = TypeVar("T")


@dataclass(frozen=True)
class Parts:
    """Everything the routes need, put together once by the root."""

    db: Database
    artifacts: ArtifactStore
    cards: dict[str, ModelCard]  # those this service serves; the first is the default
    limits: Limits
    terms: Terms
    clock: Clock
    bell: Bell
    fleet: Fleet
    keyring: Keyring
    line: Line
    seen: Seen
    link_secret: bytes
    worker_token: str
    public_url: str | None
    version: str

    @property
    def default_card(self) -> ModelCard:
        return next(iter(self.cards.values()))

    def card(self, name: str | None) -> ModelCard:
        """The card of a model that is served here. Raises RequestRefused naming those that are."""
        if name is None:
            return self.default_card
        card = self.cards.get(name)
        if card is None:
            detail = f"no model {name!r} here; there is: {', '.join(self.cards)}"
            raise RequestRefused([FieldError("/model", detail, "unknown_model")])
        return card

    async def read(self, run: Callable[[Transaction], T]) -> T:
        """A read of the local file takes microseconds and no thread; one over a network does."""
        if self.db.local:
            return self.db.read(run)
        return await run_in_threadpool(self.db.read, run)

    async def find_job(self, job_id: JobId, key_id: KeyId) -> Job:
        """Raises NotFound for a job that is not there or not this key's."""
        if self.db.local:
            return self.seen.find(self.db, job_id, key_id)
        return await self.read(lambda tx: find(tx, job_id, key_id))

    async def write(self, run: Callable[[Transaction], T]) -> T:
        """Answers once the change is durable; many requests share one fsync."""
        future: Future[T] = self.db.write(run)
        return await asyncio.wrap_future(future)


# These are coroutines because FastAPI sends plain functions to a thread, which costs more than
# all that they do.
async def parts(request: Request) -> Parts:
    found: Parts = request.app.state.parts
    return found


PartsDep = Annotated[Parts, Depends(parts)]


@dataclass(frozen=True)
class Visit:
    """One request with a good API key."""

    parts: Parts
    key: Key
    links: Links


class _Bearer(SecurityBase):
    """`Authorization: Bearer …`, shown as a scheme in the API's description."""

    def __init__(self, scheme_name: str, description: str) -> None:
        self.model = HTTPBearerModel(description=description)
        self.scheme_name = scheme_name


class _ApiKey(_Bearer):
    async def __call__(self, request: Request) -> Visit:
        parts: Parts = request.app.state.parts
        secret = bearer(request)
        if secret is None:
            raise Unauthenticated("send your API key as `Authorization: Bearer …`")
        key = await authenticate(parts, secret)
        if key is None:
            raise Unauthenticated("this API key is not known here, or was revoked")
        return Visit(parts, key, links(request, parts))


class _AdminKey(_ApiKey):
    async def __call__(self, request: Request) -> Visit:
        visit = await super().__call__(request)
        if not visit.key.admin:
            raise Forbidden("this needs an admin key")
        return visit


class _WorkerToken(_Bearer):
    """Only a worker of this service may ask for work."""

    async def __call__(self, request: Request) -> Parts:
        parts: Parts = request.app.state.parts
        secret = bearer(request) or ""
        if not hmac.compare_digest(secret.encode(), parts.worker_token.encode()):
            raise Unauthenticated("this needs the worker token")
        return parts


class _AttemptToken(_Bearer):
    """Handed to one worker for one attempt; the lifecycle compares it."""

    async def __call__(self, request: Request) -> str:
        secret = bearer(request)
        if secret is None:
            raise Unauthenticated("this needs the attempt's token")
        return secret


_KEY_WORDS = "An API key: `Authorization: Bearer rsh_…`"
VisitDep = Annotated[Visit, Depends(_ApiKey("API key", _KEY_WORDS))]
AdminDep = Annotated[Visit, Depends(_AdminKey("API key", _KEY_WORDS))]
WorkerDep = Annotated[
    Parts, Depends(_WorkerToken("Worker token", "What workers ask for work with."))
]
AttemptToken = Annotated[str, Depends(_AttemptToken("Attempt token", "Came with the ticket."))]


def bearer(request: Request) -> str | None:
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" and secret.strip() else None


async def authenticate(parts: Parts, secret: str) -> Key | None:
    """The key with this secret. An unknown one costs the same work as a wrong one."""
    if (known := parts.keyring.find(secret)) is not None:
        return known
    prefix = prefix_of(secret)
    key = await parts.read(lambda tx: keys.find(tx, prefix))
    good = opens(secret, key.secret_hash if key is not None else bytes(32))
    if key is None or not good or key.revoked_at is not None:
        return None
    parts.keyring.remember(key)
    return key


def links(request: Request, parts: Parts) -> Links:
    """Links to the address that the request came to, unless the settings name a public one."""
    host = request.headers.get("host", "localhost")
    return Links(parts.link_secret, parts.public_url or f"{request.scope['scheme']}://{host}")
