"""Which models may make a video, and what each of them would make of the ask."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from service.api.parts import Parts
from service.domain.card import ModelCard
from service.domain.errors import FieldError, RequestRefused
from service.domain.fallback import Fallback
from service.domain.media import MediaRef, Role
from service.domain.price import Rate, cost_usd
from service.domain.request import MAX_SEED, VideoAsk, VideoRequest
from service.domain.resolve import resolve


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


def candidates(parts: Parts, ask: VideoAsk, media: Mapping[Role, MediaRef]) -> list[Candidate]:
    """The one to try first in front.

    Raises RequestRefused naming each field that a model which was asked for cannot honour; where
    none was, the default's own fallbacks are merely left out if they cannot.
    """
    resolver = _Resolver(parts, ask, media, random.randint(0, MAX_SEED))  # noqa: S311 - no secret
    if ask.models is not None:
        cards = [parts.card(name, f"/models/{at}") for at, name in enumerate(ask.models)]
        return resolver.all(cards)
    if ask.model is not None:
        return [resolver.one(parts.card(ask.model))]
    first = parts.default_card
    others = [parts.cards[name] for name in first.fallbacks if name in parts.cards]
    return [resolver.one(first), *resolver.able(others)]


@dataclass(frozen=True)
class _Resolver:
    """`seed` is for all of them, where the ask names none."""

    parts: Parts
    ask: VideoAsk
    media: Mapping[Role, MediaRef]
    seed: int

    def one(self, card: ModelCard) -> Candidate:
        served = list(self.parts.cards.values())
        request = resolve(self.ask, card, seed=self.seed, media=self.media, served=served)
        rate = self.parts.terms.rates.expected(card.name)
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
