"""Mount the admin pages at /admin."""

from pathlib import Path

from fastapi import FastAPI

from service.admin.login_limit import LoginLimit
from service.admin.pages import StaticAssets
from service.admin.routes import (
    audit,
    bulk,
    jobs,
    keys,
    login,
    make,
    models,
    overview,
    unknown,
    voices,
    webhooks,
    workers,
)

_STATIC = Path(__file__).parent / "static"
_GROUPS = (
    *(login, overview, make, jobs, bulk, models, workers, voices, webhooks, keys, audit),
    unknown,  # answers for all other paths
)


def install(app: FastAPI) -> None:
    app.state.login_limit = LoginLimit()
    app.mount("/admin/assets", StaticAssets(directory=str(_STATIC)))
    for group in _GROUPS:
        app.include_router(group.router, include_in_schema=False)
