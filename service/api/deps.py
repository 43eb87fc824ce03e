"""FastAPI dependencies of the routes: the runtime, and who asks, by API key or token."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Path, Request
from fastapi.dependencies.models import Dependant
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.security.base import SecurityBase
from pydantic import BaseModel

from service.api.forwarded import base_url
from service.api.signed_links import SignedLinks
from service.domain.errors import (
    FieldError,
    Forbidden,
    RequestRefused,
    Unauthenticated,
    Unavailable,
)
from service.domain.job import Scope
from service.domain.key import Key, KeyRole, matches, prefix_of
from service.domain.text import nearest
from service.runtime.runtime import Runtime
from service.store import keys
from service.store.audit import Actor


# A coroutine: FastAPI would run a plain function in a thread, which costs more.
async def get_runtime(request: Request) -> Runtime:
    return runtime_of(request)


def runtime_of(request: Request) -> Runtime:
    """Return the runtime. Raises Unavailable while this process does not own the database."""
    runtime: Runtime | None = request.app.state.runtime
    if runtime is None:
        raise Unavailable(
            "the database is being taken over from another container", retry_after_seconds=3
        )
    runtime.db.check_owner()
    return runtime


RuntimeDep = Annotated[Runtime, Depends(get_runtime)]
JobPath = Annotated[str, Path(description="A job's id.", examples=["job_06hm3c…"])]


@dataclass(frozen=True)
class RequestContext:
    """A request that came with a valid API key."""

    runtime: Runtime
    key: Key
    links: SignedLinks
    secret: str = field(repr=False)

    @property
    def scope(self) -> Scope:
        return Scope(self.key.id)

    @property
    def actor(self) -> Actor | None:
        """Return what records the changes of an admin; None for other keys."""
        return Actor(self.key.id, self.runtime.clock()) if self.key.admin else None


def bearer(request: Request) -> str | None:
    """Return the secret of `Authorization: Bearer …`."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" and secret.strip() else None


class _Bearer(SecurityBase):
    """`Authorization: Bearer …`, documented as a security scheme."""

    def __init__(self, scheme_name: str, description: str) -> None:
        self.model = HTTPBearerModel(description=description)
        self.scheme_name = scheme_name


class ApiKeyAuth(_Bearer):
    """Dependency of a route that needs an API key; `read_secret` finds its secret in a request."""

    def __init__(
        self,
        scheme_name: str,
        description: str,
        read_secret: Callable[[Request], str | None] = bearer,
        usage: str = "Authorization: Bearer <key>",
    ) -> None:
        super().__init__(scheme_name, description)
        self._read_secret = read_secret
        self._usage = usage

    async def __call__(self, request: Request) -> RequestContext:
        secret = self._read_secret(request)
        if secret is None:
            raise Unauthenticated(f"send your API key as `{self._usage}`")
        key = await authenticate(runtime_of(request), secret)
        if key is None:
            raise Unauthenticated(_UNKNOWN)
        _check_parameters(request)
        return make_context(request, key, secret)


def _check_parameters(request: Request) -> None:
    """Raise RequestRefused if the route lacks a parameter of the query: ignoring a filter would
    select more than was meant."""
    if not request.scope["query_string"]:
        return
    names, has_labels = _parameters(request.scope["route"].dependant)
    if unknown := [
        _unknown_parameter(request, name[:64], names)
        for name in dict.fromkeys(request.query_params)
        if name not in names and not (has_labels and name.startswith("metadata["))
    ]:
        raise RequestRefused(unknown)


def _parameters(dependant: Dependant) -> tuple[set[str], bool]:
    """Return the names in the query of a route, and whether labels may be among them."""
    names: set[str] = set()
    has_labels = False
    for each in dependant.query_params:
        model = each.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            names |= {part.alias or name for name, part in model.model_fields.items()}
            has_labels = model.model_config.get("extra") == "allow"
        else:
            names.add(each.alias)
    for inner in dependant.dependencies:
        names |= _parameters(inner)[0]
    return names, has_labels


def _unknown_parameter(request: Request, name: str, names: set[str]) -> FieldError:
    hint = nearest(name, sorted(names))
    if name == "wait" and request.method == "POST":
        hint = "; use the header `Prefer: wait=N`"
    return FieldError(f"?{name}", f"{name}: no such parameter{hint}", "unknown_field")


class _AdminKey(ApiKeyAuth):
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


class _MetricsToken(_Bearer):
    """Require the metrics token; without one in the settings nobody may see the metrics."""

    async def __call__(self, request: Request) -> Runtime:
        runtime = runtime_of(request)
        token, secret = runtime.metrics_token, bearer(request) or ""
        if token is None or not hmac.compare_digest(secret.encode(), token.encode()):
            raise Unauthenticated("this needs the metrics token (RUSHES_METRICS_TOKEN)")
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
ContextDep = Annotated[RequestContext, Depends(ApiKeyAuth("apiKey", _KEY_DESCRIPTION))]
AdminDep = Annotated[RequestContext, Depends(_AdminKey("apiKey", _KEY_DESCRIPTION))]
WorkerDep = Annotated[
    Runtime, Depends(_WorkerToken("workerToken", "Authenticates workers when they claim jobs."))
]
MetricsDep = Annotated[
    Runtime, Depends(_MetricsToken("metricsToken", "RUSHES_METRICS_TOKEN, for a Prometheus."))
]
AttemptToken = Annotated[str, Depends(_AttemptToken("attemptToken", "Issued with the ticket."))]


def find_cached_key(request: Request) -> Key | None:
    """Return the key of this request if it is in the cache."""
    secret = bearer(request)
    try:
        return None if secret is None else runtime_of(request).key_cache.find(secret)
    except Unavailable:
        return None


async def recheck_key(request: Request, context: RequestContext) -> None:
    """Raise Unauthenticated if the key was revoked since the request began."""
    if await authenticate(runtime_of(request), context.secret) is None:
        raise Unauthenticated(_UNKNOWN)


def make_context(request: Request, key: Key, secret: str) -> RequestContext:
    """Build the request context. Raises RateLimited where this key sends too many requests, and
    Forbidden for a change by a viewer's key."""
    runtime = runtime_of(request)
    if key.role is KeyRole.VIEWER and request.method not in ("GET", "HEAD"):
        raise Forbidden("the key of a viewer changes nothing", code="read_only_key")
    runtime.throttles.requests.spend(key.id)
    return RequestContext(runtime, key, links(request, runtime), secret)


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
