"""Serve openapi.json, Swagger UI and ReDoc, without assets from another server."""

from importlib.resources import files

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

from service.api.forwarded import base_url

# Relative to the page, so that they work behind any path prefix of a proxy.
_OPENAPI, _ASSETS = "openapi.json", "docs/assets"


def install(app: FastAPI, public_url: str | None) -> None:
    async def openapi(request: Request) -> JSONResponse:
        server = public_url or base_url(request)
        return JSONResponse({**app.openapi(), "servers": [{"url": server}]})

    app.add_route(f"/{_OPENAPI}", openapi)
    app.add_route("/docs", _swagger)
    app.add_route("/", _to_docs)
    app.add_route("/redoc", _redoc)
    # Swagger UI (Apache-2.0) and ReDoc (MIT), from the fastapi-offline package.
    assets = StaticFiles(directory=str(files("fastapi_offline") / "static"))
    app.mount(f"/{_ASSETS}", assets)


async def _to_docs(_: Request) -> RedirectResponse:
    return RedirectResponse("docs")


async def _swagger(_: Request) -> HTMLResponse:
    return get_swagger_ui_html(
        openapi_url=_OPENAPI,
        title="Rushes",
        swagger_js_url=f"{_ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{_ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{_ASSETS}/favicon.png",
    )


async def _redoc(_: Request) -> HTMLResponse:
    return get_redoc_html(
        openapi_url=_OPENAPI,
        title="Rushes",
        redoc_js_url=f"{_ASSETS}/redoc.standalone.js",
        redoc_favicon_url=f"{_ASSETS}/favicon.png",
        with_google_fonts=False,
    )
