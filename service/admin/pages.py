"""Render pages, and send them with the headers that keep a browser safe."""

from datetime import timedelta
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import jinja2
from fastapi import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from service.admin import charts, words
from service.api.forwarded import base_path
from service.domain.attempt import ArtifactStore
from service.domain.kinds import KINDS

_HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

# Of files that users sent: shown, and nothing else.
FILE_HEADERS = {
    **_HEADERS,
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "no-store",
}


@cache
def templates() -> jinja2.Environment:
    """Return the templates. Everything is escaped, whatever its file is called."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("service.admin"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(words.FILTERS)
    environment.globals.update(charts.GLOBALS, kinds=tuple(KINDS))
    return environment


def render(
    request: Request, name: str, values: dict[str, Any], *, status: int = 200, media: str = ""
) -> HTMLResponse:
    """Render a template. `media` is another origin that videos may come from."""
    body = templates().get_template(name).render(base=base_path(request), **values)
    headers = {**_HEADERS, "Content-Security-Policy": _policy(media), "Cache-Control": "no-store"}
    return HTMLResponse(body, status, headers)


def _policy(media: str) -> str:
    own = f"'self' {media}".strip()
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            f"img-src {own} blob: data:",
            f"media-src {own} blob:",
            "connect-src 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        )
    )


def media_origin(artifacts: ArtifactStore) -> str:
    """Return the origin of the bucket to which links to videos are redirected; empty: none."""
    link = artifacts.link("x", filename="x", lifetime=timedelta(minutes=1))
    if link is None:
        return ""
    url = urlsplit(link)
    return f"{url.scheme}://{url.netloc}"


class StaticAssets(StaticFiles):
    """The style sheet and scripts of the pages."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_HEADERS)
        response.headers["Cache-Control"] = "no-cache"  # revalidated by its ETag
        return response
