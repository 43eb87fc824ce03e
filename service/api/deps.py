"""What a route is handed: the service's parts, and who is calling."""

import asyncio
import hmac
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from service.api.bell import Bell
from service.api.fleet import Fleet
from service.api.links import Links
from service.domain.card import ModelCard
from service.domain.errors import FieldError, Forbidden, RequestRefused, Unauthenticated
from service.domain.key import Key, opens, prefix_of
from service.domain.limits import Limits
from service.domain.ports import ArtifactStore, Clock
from service.domain.price import Terms
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

    async def write(self, run: Callable[[Transaction], T]) -> T:
        """Answers once the change is durable; many requests share one fsync."""
        future: Future[T] = self.db.write(run)
        return await asyncio.wrap_future(future)


def parts(request: Request) -> Parts:
    found: Parts = request.app.state.parts
    return found


PartsDep = Annotated[Parts, Depends(parts)]


def links(request: Request, parts: PartsDep) -> Links:
    base = parts.public_url or str(request.base_url)
    return Links(parts.link_secret, base.rstrip("/"))


LinksDep = Annotated[Links, Depends(links)]

_bearer = HTTPBearer(
    auto_error=False, scheme_name="API key", description="`Authorization: Bearer rsh_…`"
)
Shown = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


async def caller(shown: Shown, parts: PartsDep) -> Key:
    """The key that came with the request. An unknown one costs the same work as a wrong one."""
    if shown is None:
        raise Unauthenticated("send your API key as `Authorization: Bearer …`")
    key = await authenticate(parts, shown.credentials)
    if key is None:
        raise Unauthenticated("this API key is not known here, or was revoked")
    return key


async def authenticate(parts: Parts, secret: str) -> Key | None:
    prefix = prefix_of(secret)
    key = await parts.read(lambda tx: keys.find(tx, prefix))
    good = opens(secret, key.secret_hash if key is not None else bytes(32))
    return key if key is not None and good and key.revoked_at is None else None


Caller = Annotated[Key, Depends(caller)]


async def admin(key: Caller) -> Key:
    if not key.admin:
        raise Forbidden("this needs an admin key")
    return key


Admin = Annotated[Key, Depends(admin)]


def worker(shown: Shown, parts: PartsDep) -> None:
    """Only a worker of this service may ask for work."""
    secret = "" if shown is None else shown.credentials
    if not hmac.compare_digest(secret.encode(), parts.worker_token.encode()):
        raise Unauthenticated("this needs the worker token")


WorkerOnly = Depends(worker)
