"""Answer for paths below /admin that no page has."""

from service.admin.visit import VisitDep, page_router
from service.domain.errors import NotFound

router = page_router("")


@router.api_route("/{path:path}", methods=["GET", "POST"])
async def show_nothing(path: str, visit: VisitDep) -> None:
    raise NotFound(f"there is no page /admin/{path[:80]}")
