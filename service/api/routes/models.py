"""Which models this service serves, and what each can make."""

from fastapi import APIRouter

from service.api.auth import VisitDep
from service.api.problems import documented
from service.api.schemas import ModelList, ModelOut, RateOut

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("", responses=documented(401, 429))
async def list_models(visit: VisitDep) -> ModelList:
    """The cards, the default first."""
    parts = visit.parts
    now = parts.clock()
    return ModelList(
        data=[
            ModelOut(
                **card.model_dump(),
                id=card.name,
                default=card is parts.default_card,
                workers=parts.fleet.serving(card.name, now),
                rate=RateOut.from_domain(parts.terms.rates.expected(card.name)),
            )
            for card in parts.cards.values()
        ]
    )
