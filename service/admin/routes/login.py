"""Log in with a key, and out."""

import logging
import re

from fastapi import Request
from starlette.responses import RedirectResponse, Response

from service.admin.login_limit import LoginLimit
from service.admin.pages import render
from service.admin.visit import COOKIE, VisitDep, is_same_origin, page_router
from service.api.deps import authenticate, runtime_of
from service.api.forwarded import base_path
from service.domain.errors import Forbidden, RateLimited
from service.lifecycle import sessions

log = logging.getLogger(__name__)
router = page_router("")

# A path of these pages: never another site.
_NEXT = re.compile(r"/admin(?:[/?][^\\\x00-\x20]*)?")
_UNKNOWN = "This key is unknown, or was revoked."
_NO_ROLE = "This key may not see these pages. Log in with the key of an admin or a viewer."


@router.get("/login")
async def show_login(request: Request, next: str = "/admin") -> Response:
    return render(request, "login.html", {"next": next, "error": None})


@router.post("/login")
async def log_in(request: Request) -> Response:
    """Begin a session by an API key."""
    if not is_same_origin(request):
        raise Forbidden("this form came from another site", code="csrf")
    form = await request.form()
    secret, goal = str(form.get("key", "")).strip(), str(form.get("next", ""))
    runtime, address = runtime_of(request), request.client.host if request.client else ""
    limit: LoginLimit = request.app.state.login_limit
    try:
        limit.check(address)
    except RateLimited as error:
        return _refuse(request, goal, f"{error.message.capitalize()}.", 429)
    key = await authenticate(runtime, secret)
    if key is None:
        limit.record_failure(address)
        log.warning("login failed", extra={"address": address})
        return _refuse(request, goal, _UNKNOWN, 401)
    now = runtime.clock()
    try:
        token = await runtime.write(lambda tx: sessions.begin(tx, key, now))
    except Forbidden:
        return _refuse(request, goal, _NO_ROLE, 403)
    log.info("logged in", extra={"key": key.id, "role": key.role})
    base = base_path(request)
    response = RedirectResponse(base + (goal if _NEXT.fullmatch(goal) else "/admin"), 303)
    response.set_cookie(
        COOKIE,
        token,
        max_age=int(sessions.LIFETIME.total_seconds()),
        path=f"{base}/admin",
        secure=request.scope["scheme"] == "https"
        or (runtime.public_url or "").startswith("https:"),
        httponly=True,
        samesite="lax",
    )
    return response


@router.post("/logout")
async def log_out(visit: VisitDep) -> Response:
    """End this session, or all those of its key."""
    form = await visit.request.form()
    visit.check_csrf(str(form.get("csrf", "")))
    runtime = visit.runtime
    if form.get("everywhere"):
        await runtime.write(lambda tx: sessions.end_all(tx, visit.key.id, runtime.clock()))
    else:
        await runtime.write(lambda tx: sessions.end(tx, visit.token))
    response = visit.redirect("/login")
    response.delete_cookie(COOKIE, path=f"{visit.base}/admin")
    return response


def _refuse(request: Request, goal: str, error: str, status: int) -> Response:
    return render(request, "login.html", {"next": goal, "error": error}, status=status)
