"""Errors of the admin pages: a page that says what is wrong, or the way to the login."""

import logging
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse

from service.admin.pages import render
from service.api.forwarded import base_path, base_url
from service.api.problems import problem_of

log = logging.getLogger(__name__)


class LoginNeeded(Exception):
    """Raised for a request without a session."""


class AdminRoute(APIRoute):
    """A route whose errors are pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_or_explain(request: Request) -> Response:
            try:
                return await handle(request)
            except LoginNeeded:
                return _to_login(request)
            except ClientDisconnect:
                raise  # nobody waits for a page
            except Exception as error:  # noqa: BLE001
                return _explain(request, error)

        return handle_or_explain


def _explain(request: Request, error: Exception) -> Response:
    problem, headers = problem_of(request, error)
    if problem.status == 500:
        place = {"method": request.method, "path": request.scope["path"]}
        log.error("request failed", exc_info=error, extra=place)
    name = "problem_part.html" if is_part(request) else "problem.html"
    title = HTTPStatus(problem.status).phrase.capitalize()
    values = {"problem": problem, "title": title, "came_from": _came_from(request)}
    response = render(request, name, values, status=problem.status)
    response.headers.update(headers)
    return response


def _came_from(request: Request) -> str | None:
    """Return the other one of these pages that led here."""
    referer, pages = request.headers.get("referer", ""), f"{base_url(request)}/admin"
    return referer if referer.startswith(pages) and referer != str(request.url) else None


def is_part(request: Request) -> bool:
    """Tell whether htmx asks for a part of a page."""
    return "hx-request" in request.headers


def _to_login(request: Request) -> Response:
    login = f"{base_path(request)}/admin/login"
    if is_part(request):
        return Response(headers={"HX-Redirect": login, "Cache-Control": "no-store"})
    if request.method == "GET":
        query = f"?{request.url.query}" if request.url.query else ""
        login += f"?next={quote(request.url.path + query)}"
    return RedirectResponse(login, 303, headers={"Cache-Control": "no-store"})
