"""Authentication: API keys, admin keys, the worker token, and the tokens of attempts."""

import hmac
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.security.base import SecurityBase

from service.api.deps import runtime_of
from service.api.forwarded import base_url
from service.api.signed_links import SignedLinks
from service.domain.errors import Forbidden, Unauthenticated, Unavailable
from service.domain.key import Key, Scope, matches, prefix_of
from service.runtime.runtime import Runtime
from service.store import keys


@dataclass(frozen=True)
class RequestContext:
    """A request that came with a valid API key."""

    runtime: Runtime
    key: Key
    links: SignedLinks

    @property
    def scope(self) -> Scope:
        return Scope(self.key.id)


class _Bearer(SecurityBase):
    """`Authorization: Bearer …`, documented as a security scheme."""

    def __init__(self, scheme_name: str, description: str) -> None:
        self.model = HTTPBearerModel(description=description)
        self.scheme_name = scheme_name


class _ApiKey(_Bearer):
    async def __call__(self, request: Request) -> RequestContext:
        return make_context(request, await _key(request))


class _AdminKey(_ApiKey):
    async def __call__(self, request: Request) -> RequestContext:
        context = await super().__call__(request)
        if not context.key.admin:
            raise Forbidden("this needs an admin key")
        return context


class _WorkerToken(_Bearer):
    """Require the worker token: only workers of this service may claim jobs."""

    async def __call__(self, request: Request) -> Runtime:
        runtime = runtime_of(request)
        secret = bearer(request) or ""
        if not hmac.compare_digest(secret.encode(), runtime.worker_token.encode()):
            raise Unauthenticated("this needs the worker token")
        return runtime


class _AttemptToken(_Bearer):
    """Extract the token of an attempt; the lifecycle compares it."""

    async def __call__(self, request: Request) -> str:
        secret = bearer(request)
        if secret is None:
            raise Unauthenticated("this needs the attempt's token")
        return secret


_UNKNOWN = "this API key is unknown, or was revoked"
_KEY_DESCRIPTION = "An API key: `Authorization: Bearer rsh_…`"
ContextDep = Annotated[RequestContext, Depends(_ApiKey("apiKey", _KEY_DESCRIPTION))]
AdminDep = Annotated[RequestContext, Depends(_AdminKey("apiKey", _KEY_DESCRIPTION))]
WorkerDep = Annotated[
    Runtime, Depends(_WorkerToken("workerToken", "Authenticates workers when they claim jobs."))
]
AttemptToken = Annotated[str, Depends(_AttemptToken("attemptToken", "Issued with the ticket."))]


def bearer(request: Request) -> str | None:
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" and secret.strip() else None


def find_cached_key(request: Request) -> Key | None:
    """Return the key of this request if it is in the cache."""
    secret = bearer(request)
    try:
        return None if secret is None else runtime_of(request).key_cache.find(secret)
    except Unavailable:
        return None


async def recheck_key(request: Request) -> None:
    """Raise Unauthenticated if the key was revoked since the request began."""
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


def make_context(request: Request, key: Key) -> RequestContext:
    """Build the request context. Raises RateLimited where this key sends too many requests."""
    runtime = runtime_of(request)
    runtime.request_limit.spend(key.id)
    return RequestContext(runtime, key, links(request, runtime))


async def authenticate(runtime: Runtime, secret: str) -> Key | None:
    """Return the key with this secret. Unknown and wrong ones take the same time."""
    if (cached_key := runtime.key_cache.find(secret)) is not None:
        return cached_key
    prefix = prefix_of(secret)
    key = await runtime.read(lambda tx: keys.find(tx, prefix))
    is_valid = matches(secret, key.secret_hash if key is not None else bytes(32))
    if key is None or not is_valid or key.revoked_at is not None:
        return None
    runtime.key_cache.remember(key)
    return key


def links(request: Request, runtime: Runtime) -> SignedLinks:
    """Return links based on the public URL, or else on the address the request came to."""
    return SignedLinks(runtime.link_secret, runtime.public_url or base_url(request))
