"""The models that may generate a video, with the request resolved for each."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from service.domain.errors import FieldError, RequestRefused
from service.domain.job import ModelChoice
from service.domain.kinds import AnyRequest, JobParams
from service.domain.media import MediaRef, Role
from service.domain.models.card import ModelCard
from service.domain.models.catalog import CARDS
from service.domain.price import Rates
from service.domain.request import MAX_SEED, JobKind
from service.domain.resolve.avatars import resolve_avatar
from service.domain.resolve.resolve import resolve
from service.installation import install_command

_RESOLVERS: dict[JobKind, Callable[..., AnyRequest]] = {"video": resolve, "avatar": resolve_avatar}


def choose_models(
    cards: Mapping[str, ModelCard],
    rates: Rates,
    params: JobParams,
    media: Mapping[Role, MediaRef],
) -> list[ModelChoice]:
    """List the models of `cards` that can make the video, the first to try in front.

    Raises RequestRefused naming each field that a requested model cannot honour. If no model was
    requested, fallbacks of the default that cannot are left out.
    """
    seed = random.randint(0, MAX_SEED)  # noqa: S311 - no secret
    resolver = _Resolver(cards, rates, params, media, seed)
    if params.models is not None:
        return resolver.resolve_all(
            [_card(cards, name, f"/models/{n}") for n, name in enumerate(params.models)]
        )
    if params.model is not None:
        return [resolver.resolve_one(_card(cards, params.model, "/model"))]
    default = _default(cards, params.kind)
    fallbacks = [cards[name] for name in default.fallbacks if name in cards]
    return [resolver.resolve_one(default), *resolver.resolve_capable(fallbacks)]


def _default(cards: Mapping[str, ModelCard], kind: JobKind) -> ModelCard:
    """Return the first served model for jobs of this kind."""
    default = next((card for card in cards.values() if card.kind == kind), None)
    if default is None:
        card = next(card for card in CARDS.values() if card.kind == kind)
        detail = f"this service has no {kind} model: {_advice(card)}"
        raise RequestRefused([FieldError("/model", detail, "unknown_model")])
    return default


def _card(cards: Mapping[str, ModelCard], name: str, pointer: str) -> ModelCard:
    card = cards.get(name)
    if card is None:
        detail = f"no model {name!r} here; available: {', '.join(cards)}"
        if name in CARDS:
            detail += f"; {_advice(CARDS[name])}"
        raise RequestRefused([FieldError(pointer, detail, "unknown_model")])
    return card


def _advice(card: ModelCard) -> str:
    """Say how the operator can serve a model; its workers may be on another machine."""
    install = "" if card.extra is None else f"run {install_command(card.extra)} and "
    named = f"RUSHES_MODELS, if it is set, must name {card.name}"
    return f"its operator can {install}restart it ({named})"


@dataclass(frozen=True)
class _Resolver:
    """`seed` is used for all models if the params give none."""

    cards: Mapping[str, ModelCard]
    rates: Rates
    params: JobParams
    media: Mapping[Role, MediaRef]
    seed: int

    def resolve_one(self, card: ModelCard) -> ModelChoice:
        options: Any = {
            "seed": self.seed,
            "media": self.media,
            "served_cards": list(self.cards.values()),
        }
        request = _RESOLVERS[self.params.kind](self.params, card, **options)
        rate = self.rates.expected(card.name)
        return ModelChoice(
            request=request,
            expected_ms=round(card.expected_seconds(request) * 1000),
            rate_source=rate.source,
            rate_gpu=rate.gpu,
            usd_per_second=rate.usd_per_second,
        )

    def resolve_all(self, cards: list[ModelCard]) -> list[ModelChoice]:
        results: list[ModelChoice] = []
        errors: list[FieldError] = []
        for card in cards:
            try:
                results.append(self.resolve_one(card))
            except RequestRefused as error:
                errors += error.errors
        if errors:
            raise RequestRefused(errors)
        return results

    def resolve_capable(self, cards: list[ModelCard]) -> list[ModelChoice]:
        results = []
        for card in cards:
            try:
                results.append(self.resolve_one(card))
            except RequestRefused:
                continue
        return results
