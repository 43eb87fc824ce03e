"""The terms of one service: prices, retention and the models that it serves."""

from dataclasses import dataclass

from service.domain.price import Rates
from service.domain.retention import RetentionPolicy


@dataclass(frozen=True)
class Terms:
    """On what terms a job is done: what its GPU seconds cost, how long what stays, and which
    models there are for it."""

    rates: Rates
    keeping: RetentionPolicy
    models: frozenset[str]
