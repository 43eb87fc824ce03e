"""Who is calling: API keys, admin keys, the worker token, and the token of one attempt."""

import hmac
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.security.base import SecurityBase

from service.api.deps import runtime_of
from service.api.forwarded import reached_at
from service.api.signed_links import SignedLinks
from service.domain.errors import Forbidden, Unauthenticated, Unavailable
from service.domain.key import Key, matches, prefix_of
from service.runtime.runtime import Runtime
from service.store import keys


@dataclass(frozen=True)
class RequestContext:
    """One request with a good API key."""

    runtime: Runtime
    key: Key
    links: SignedLinks


class _Bearer(SecurityBase):
    """`Authorization: Bearer …`, shown as a scheme in the API's description."""

    def __init__(self, scheme_name: str, description: str) -> None:
        self.model = HTTPBearerModel(description=description)
        self.scheme_name = scheme_name


class _ApiKey(_Bearer):
    async def __call__(self, request: Request) -> RequestContext:
        return context(request, await _key(request))


class _AdminKey(_ApiKey):
    async def __call__(self, request: Request) -> RequestContext:
        context = await super().__call__(request)
        if not context.key.admin:
            raise Forbidden("this needs an admin key")
        return context


class _WorkerToken(_Bearer):
    """Only a worker of this service may ask for work."""

    async def __call__(self, request: Request) -> Runtime:
        runtime = runtime_of(request)
        secret = bearer(request) or ""
        if not hmac.compare_digest(secret.encode(), runtime.worker_token.encode()):
            raise Unauthenticated("this needs the worker token")
        return runtime


class _AttemptToken(_Bearer):
    """Handed to one worker for one attempt; the lifecycle compares it."""

    async def __call__(self, request: Request) -> str:
        secret = bearer(request)
        if secret is None:
            raise Unauthenticated("this needs the attempt's token")
        return secret


_UNKNOWN = "this API key is not known here, or was revoked"
_KEY_WORDS = "An API key: `Authorization: Bearer rsh_…`"
ContextDep = Annotated[RequestContext, Depends(_ApiKey("apiKey", _KEY_WORDS))]
AdminDep = Annotated[RequestContext, Depends(_AdminKey("apiKey", _KEY_WORDS))]
WorkerDep = Annotated[
    Runtime, Depends(_WorkerToken("workerToken", "What workers ask for work with."))
]
AttemptToken = Annotated[str, Depends(_AttemptToken("attemptToken", "Came with the ticket."))]


def bearer(request: Request) -> str | None:
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" and secret.strip() else None


def known_key(request: Request) -> Key | None:
    """The key of this request, if it was seen a moment ago."""
    secret = bearer(request)
    try:
        return None if secret is None else runtime_of(request).key_cache.find(secret)
    except Unavailable:
        return None


async def admitted(request: Request) -> None:
    """Look once more whether the key still opens. Raises Unauthenticated where it was revoked
    since."""
    await _key(request)


async def _key(request: Request) -> Key:
    runtime = runtime_of(request)
    secret = bearer(request)
    if secret is None:
        raise Unauthenticated("send your API key as `Authorization: Bearer <key>`")
    key = await authenticate(runtime, secret)
    if key is None:
        raise Unauthenticated(_UNKNOWN)
    return key


def context(request: Request, key: Key) -> RequestContext:
    """Raises RateLimited where this key comes too often."""
    runtime = runtime_of(request)
    runtime.request_limit.spend(key.id)
    return RequestContext(runtime, key, links(request, runtime))


async def authenticate(runtime: Runtime, secret: str) -> Key | None:
    """The key with this secret. An unknown one costs the same work as a wrong one."""
    if (known := runtime.key_cache.find(secret)) is not None:
        return known
    prefix = prefix_of(secret)
    key = await runtime.read(lambda tx: keys.find(tx, prefix))
    good = matches(secret, key.secret_hash if key is not None else bytes(32))
    if key is None or not good or key.revoked_at is not None:
        return None
    runtime.key_cache.remember(key)
    return key


def links(request: Request, runtime: Runtime) -> SignedLinks:
    """Links to the address that the request came to, unless the settings name a public one."""
    return SignedLinks(runtime.link_secret, runtime.public_url or reached_at(request))
