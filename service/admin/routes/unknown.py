"""Answer for paths below /admin that no page has."""

from service.admin.visit import VisitDep, page_router
from service.domain.errors import NotFound

router = page_router("")


@router.get("/{path:path}")
async def show_nothing(path: str, visit: VisitDep) -> None:
    raise NotFound(f"there is no page /admin/{path[:80]}")
