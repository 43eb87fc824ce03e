"""A request within a session: its key, and the check that its owner meant a change."""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response

from service.admin.errors import AdminRoute, LoginNeeded
from service.admin.pages import media_origin, render
from service.api.deps import runtime_of
from service.api.forwarded import base_path, base_url
from service.api.problems import problem_of
from service.api.signed_links import SignedLinks
from service.domain.errors import Forbidden
from service.domain.ids import KeyId
from service.domain.job import Scope
from service.domain.key import Key
from service.lifecycle import sessions
from service.runtime.runtime import Runtime
from service.store import jobs, keys
from service.store.audit import Actor
from service.store.transaction import Transaction

COOKIE = "rushes_session"
CSRF_FIELD, _CSRF_HEADER = "csrf", "x-csrf-token"
FORM_ID_FIELD = "form_id"
ALL_JOBS = Scope(None)

T = TypeVar("T")


@dataclass(frozen=True)
class Visit:
    """A request within a session."""

    request: Request
    runtime: Runtime
    key: Key
    token: str = field(repr=False)

    @cached_property
    def csrf(self) -> str:
        """Return the token that a form of this session must send."""
        return hmac.new(self.token.encode(), b"csrf", hashlib.sha256).hexdigest()

    @cached_property
    def form_id(self) -> str:
        """Return the id of the form on this page, by which it makes one job or key however
        often it is sent."""
        return secrets.token_hex(16)

    def random_of(self, form_id: str, text: str) -> bytes:
        """Return random bytes that are the same whenever this session sends the form with `text`;
        nobody else can tell them."""
        content = "\n".join((self.token, form_id or secrets.token_hex(16), text))
        return hmac.new(self.runtime.link_secret, content.encode(), hashlib.sha512).digest()

    @property
    def base(self) -> str:
        return base_path(self.request)

    @property
    def links(self) -> SignedLinks:
        """Return links to videos on the address of the page."""
        return SignedLinks(self.runtime.link_secret, self.base)

    @property
    def api_url(self) -> str:
        """Return the address of the API for people outside."""
        return self.runtime.public_url or base_url(self.request)

    async def read(self, run: Callable[[Transaction], T]) -> T:
        """Read in a thread: a page may read more than a poll."""
        return await run_in_threadpool(self.runtime.db.read, run)

    @property
    def actor(self) -> Actor:
        """Return what records that this admin changes something now."""
        return Actor(self.key.id, self.runtime.clock())

    async def key_names(self) -> dict[KeyId, str]:
        return await self.read(keys.names)

    def refusals(self, error: Exception) -> dict[str, str]:
        """Return what is wrong with each field that an error names."""
        problem, _ = problem_of(self.request, error)
        return {each.pointer.removeprefix("?"): each.detail for each in problem.errors}

    async def page(self, name: str, **values: Any) -> HTMLResponse:
        """Render a page with its frame: who is logged in, and the counts on every page."""
        counts = await self.read(
            lambda tx: {
                "queued": keys.count_queued(tx),
                "running": jobs.count_running(tx),
                "paused": sorted(jobs.paused_models(tx)),
            }
        )
        return self.part(name, counts=counts, **values)

    def part(self, name: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        """Render a part of a page."""
        shared = {"visit": self, "now": self.runtime.clock(), "version": self.runtime.version}
        media = media_origin(self.runtime.artifacts)
        return render(self.request, name, {**shared, **values}, status=status, media=media)

    def redirect(self, path: str) -> Response:
        """Lead the browser to another page, after a change."""
        return RedirectResponse(f"{self.base}/admin{path}", 303)

    def check_csrf(self, token: str) -> None:
        """Raise Forbidden for a change that no form of this session asked for."""
        if not hmac.compare_digest(self.csrf.encode(), token.encode()):
            raise Forbidden("this form is of an older login; reload the page", code="csrf")


async def find_visit(request: Request) -> Visit:
    """Return the visit of a session. Raises LoginNeeded without one."""
    runtime, token = runtime_of(request), request.cookies.get(COOKIE, "")
    now = runtime.clock()
    key = await runtime.read(lambda tx: sessions.find_key(tx, token, now)) if token else None
    if key is None:
        raise LoginNeeded
    return Visit(request, runtime, key, token)


VisitDep = Annotated[Visit, Depends(find_visit)]


async def _find_admin(visit: VisitDep) -> Visit:
    """Return the visit of an admin. Raises Forbidden for a viewer, and for another site's form."""
    if not visit.key.admin:
        raise Forbidden("a viewer changes nothing", code="read_only_key")
    if not is_same_origin(visit.request):
        raise Forbidden("this form came from another site", code="csrf")
    return visit


# For changes whose form is read by the route, which then checks the CSRF token itself.
AdminVisitDep = Annotated[Visit, Depends(_find_admin)]


async def _find_actor(visit: AdminVisitDep) -> Visit:
    header = visit.request.headers.get(_CSRF_HEADER)
    if header is None:
        header = str((await visit.request.form()).get(CSRF_FIELD, ""))
    visit.check_csrf(header)
    return visit


ActorDep = Annotated[Visit, Depends(_find_actor)]


def page_router(path: str = "") -> APIRouter:
    """Return a router for pages below /admin, whose errors are pages too."""
    return APIRouter(prefix=f"/admin{path}", route_class=AdminRoute)


def is_same_origin(request: Request) -> bool:
    """Tell whether the browser says that the form is of this site; old ones say nothing."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")
