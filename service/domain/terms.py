"""The terms of a service: prices, retention and models."""

from dataclasses import dataclass

from service.domain.price import Rates
from service.domain.retention import RetentionPolicy


@dataclass(frozen=True)
class Terms:
    """The GPU rates, the retention of jobs and videos, and the served models."""

    rates: Rates
    retention: RetentionPolicy
    models: frozenset[str]
