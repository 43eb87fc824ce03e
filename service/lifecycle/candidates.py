"""Which models may make a video, and what each of them would make of the ask."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from service.domain.errors import FieldError, RequestRefused
from service.domain.fallback import Fallback
from service.domain.media import MediaRef, Role
from service.domain.models.card import ModelCard
from service.domain.models.catalog import CARDS
from service.domain.price import Rate, Rates, cost_usd
from service.domain.request import MAX_SEED, VideoParams, VideoRequest
from service.domain.resolve.resolve import resolve
from service.installation import install_command


@dataclass(frozen=True)
class Candidate:
    """A model with the request as it was resolved for it, the seconds that it would take on a warm
    worker, and the rate of the GPU that it tries first."""

    request: VideoRequest
    expected_seconds: float
    rate: Rate

    @property
    def estimated_usd(self) -> float:
        return round(cost_usd(self.expected_seconds, self.rate), 6)

    def as_fallback(self) -> Fallback:
        return Fallback(
            request=self.request,
            expected_ms=round(self.expected_seconds * 1000),
            rate_source=self.rate.source,
            rate_gpu=self.rate.gpu,
            usd_per_second=self.rate.usd_per_second,
        )


def candidates(
    cards: Mapping[str, ModelCard], rates: Rates, ask: VideoParams, media: Mapping[Role, MediaRef]
) -> list[Candidate]:
    """List the models of `cards` that may make it, the one to try first in front.

    Raises RequestRefused naming each field that a model which was asked for cannot honour; where
    none was, the default's own fallbacks are merely left out if they cannot.
    """
    seed = random.randint(0, MAX_SEED)  # noqa: S311 - no secret
    resolver = _Resolver(cards, rates, ask, media, seed)
    if ask.models is not None:
        return resolver.all(
            [_card(cards, name, f"/models/{n}") for n, name in enumerate(ask.models)]
        )
    if ask.model is not None:
        return [resolver.one(_card(cards, ask.model, "/model"))]
    first = next(iter(cards.values()))
    others = [cards[name] for name in first.fallbacks if name in cards]
    return [resolver.one(first), *resolver.able(others)]


def _card(cards: Mapping[str, ModelCard], name: str, pointer: str) -> ModelCard:
    card = cards.get(name)
    if card is None:
        detail = f"no model {name!r} here; there is: {', '.join(cards)}"
        if name in CARDS:
            detail += (
                f"; its owner can serve it too ({install_command('torch')}, and RUSHES_MODELS)"
            )
        raise RequestRefused([FieldError(pointer, detail, "unknown_model")])
    return card


@dataclass(frozen=True)
class _Resolver:
    """`seed` is for all of them, where the ask names none."""

    cards: Mapping[str, ModelCard]
    rates: Rates
    ask: VideoParams
    media: Mapping[Role, MediaRef]
    seed: int

    def one(self, card: ModelCard) -> Candidate:
        served = list(self.cards.values())
        request = resolve(self.ask, card, seed=self.seed, media=self.media, served=served)
        rate = self.rates.expected(card.name)
        return Candidate(request, card.expected_seconds(request), rate)

    def all(self, cards: list[ModelCard]) -> list[Candidate]:
        found: list[Candidate] = []
        errors: list[FieldError] = []
        for card in cards:
            try:
                found.append(self.one(card))
            except RequestRefused as refused:
                errors += refused.errors
        if errors:
            raise RequestRefused(errors)
        return found

    def able(self, cards: list[ModelCard]) -> list[Candidate]:
        found = []
        for card in cards:
            try:
                found.append(self.one(card))
            except RequestRefused:
                continue
        return found
