"""Errors of the admin pages: a page that says what is wrong, or the way to the login."""

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

from service.admin.pages import render
from service.api.forwarded import base_path
from service.api.problems import problem_of
from service.domain.errors import ServiceError


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
            except (ServiceError, RequestValidationError, HTTPException) as error:
                problem, headers = problem_of(request, error)
                values = {"problem": problem, "title": HTTPStatus(problem.status).phrase}
                name = "problem_part.html" if is_part(request) else "problem.html"
                response = render(request, name, values, status=problem.status)
                response.headers.update(headers)
                return response

        return handle_or_explain


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
