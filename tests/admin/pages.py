"""The paths of the admin pages, as the routes have them: a new page is in every test of all."""

from starlette.routing import Route

from service.admin.install import _GROUPS

# They answer with a file, a stream, a login or an error.
_NO_PAGES = {
    "/admin/login",
    "/admin/jobs/{job_id}/events",
    "/admin/voices/avatars/{avatar_id}/photo",
    "/admin/voices/{voice_id}/sample",
    "/admin/{path:path}",
}


def sections() -> list[str]:
    """The pages that the navigation leads to: `/admin`, `/admin/jobs` and so on."""
    return [
        route.path
        for group in _GROUPS
        for route in group.router.routes
        if isinstance(route, Route) and route.path == group.router.prefix and _is_read(route)
    ]


def templates() -> list[str]:
    """All pages and their parts, such as `/admin/jobs/{job_id}`."""
    return [
        route.path
        for group in _GROUPS
        for route in group.router.routes
        if isinstance(route, Route) and _is_read(route) and route.path not in _NO_PAGES
    ]


def _is_read(route: Route) -> bool:
    return "GET" in (route.methods or ())
