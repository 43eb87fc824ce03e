"""GPU rates, the charges for attempts and the balances of keys."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from service.domain.errors import BudgetExceeded
from service.domain.models.catalog import CARDS

# Modal's list prices in US dollars per second (https://modal.com/pricing) of July 2026; L40S, A100
# and H100 were checked again on 2026-10-07. CPU and memory are billed in addition.
MODAL_LIST = "Modal's list of 2026-07"
MODAL_USD_PER_SECOND: Mapping[str, float] = {
    "T4": 0.000164,
    "L4": 0.000222,
    "A10": 0.000306,
    "L40S": 0.000542,
    "A100-40GB": 0.000583,
    "A100-80GB": 0.000694,
    "RTX-PRO-6000": 0.000842,
    "H100": 0.001097,
    "H200": 0.001261,
    "B200": 0.001736,
}

_MAX_SOURCE = 120
_ALIASES = {"A10G": "A10"}  # the name that the GPU reports: the name that it is sold by


@dataclass(frozen=True)
class Rate:
    """US dollars per second of a GPU, and the source of the figure. `gpu` is None if none is needed
    or billed."""

    usd_per_second: float
    source: str
    gpu: str | None = None


NO_GPU = Rate(0.0, "needs no GPU")
# Workers on the operator's own machines are not billed.
UNBILLED = Rate(0.0, "own hardware: not billed")


@dataclass(frozen=True)
class Rates:
    """Rates by the names of GPUs. With an empty table nothing is billed.

    `gpus` lists the GPUs of each model, the first to try in front. `host` is the rate of the CPU
    and memory beside a GPU, in US dollars per second.
    """

    table: Mapping[str, Rate] = field(default_factory=dict)
    gpus: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    host: float = 0.0

    def expected(self, model: str) -> Rate:
        """Return the rate for an estimate: that of the GPU which the model tries first."""
        if not self.needs_gpu(model):
            return NO_GPU
        first = next(iter(self.gpus.get(model, ())), None)
        return self._with_host(self._rate_of(first) or self._highest(model, f"no rate for {first}"))

    def actual(self, model: str, gpu: str | None) -> Rate:
        """Return the rate of the GPU that a worker reported. If it is not in the table, or not
        reported, return the highest rate of the model's GPUs, which its source then says."""
        if not self.needs_gpu(model):
            return NO_GPU
        reason = f"{gpu[:40]} has no rate" if gpu else "no worker named its GPU"
        return self._with_host(self._rate_of(gpu) or self._highest(model, reason))

    def needs_gpu(self, model: str) -> bool:
        """Tell whether a model needs a GPU, as an unknown model may."""
        return self.gpus.get(model) != ()

    @property
    def billed(self) -> bool:
        return bool(self.table)

    def _rate_of(self, name: str | None) -> Rate | None:
        """Match by words: all of `A100-80GB` are in `NVIDIA A100-SXM4-80GB`."""
        if not self.billed:
            return UNBILLED
        words = _words(name or "")
        matches = [gpu for gpu in self.table if _words(gpu) <= words]
        return self.table[max(matches, key=lambda gpu: len(_words(gpu)))] if matches else None

    def _highest(self, model: str, reason: str) -> Rate:
        own = [rate for name in self.gpus.get(model, ()) if (rate := self._rate_of(name))]
        highest = max(own or self.table.values(), key=lambda rate: rate.usd_per_second)
        source = f"{reason}; the highest for {model[:24]}: {highest.source}"
        return Rate(highest.usd_per_second, source[:_MAX_SOURCE], highest.gpu)

    def _with_host(self, rate: Rate) -> Rate:
        if rate is UNBILLED:
            return rate
        return Rate(rate.usd_per_second + self.host, rate.source, rate.gpu)


def table_of(usd_per_second: Mapping[str, float], source: str) -> dict[str, Rate]:
    return {name: Rate(usd, f"{name} by {source}", name) for name, usd in usd_per_second.items()}


MODAL_TABLE = table_of(MODAL_USD_PER_SECOND, MODAL_LIST)
# The GPUs of each model, unless the settings say otherwise.
GPUS: Mapping[str, tuple[str, ...]] = {card.name: card.gpus for card in CARDS.values()}


def cost_usd(seconds: float, rate: Rate) -> float:
    return seconds * rate.usd_per_second


def microusd(usd: float) -> int:
    """Convert to whole millionths of a dollar, in which money is stored and summed."""
    return round(usd * 1e6)


def month_of(moment: datetime) -> int:
    """Number the months, a later one higher. UTC, as all times are."""
    return moment.year * 12 + moment.month


@dataclass(frozen=True)
class Charge:
    """The cost of an attempt that ended at `at`: its GPU time in milliseconds, at a rate. `gpu` is
    the reported one. Without a rate: the attempt never began."""

    at: datetime
    gpu_ms: int = 0
    rate: Rate | None = None
    gpu: str | None = None

    @property
    def microusd(self) -> int:
        return 0 if self.rate is None else microusd(cost_usd(self.gpu_ms / 1000, self.rate))

    @property
    def booked_under(self) -> str:
        """Return the rate's name for the GPU if it matches the reported one, else the latter."""
        if self.gpu is None or self.rate is None:
            return ""
        rate_gpu = self.rate.gpu
        return rate_gpu if rate_gpu and _words(rate_gpu) <= _words(self.gpu) else self.gpu


@dataclass(frozen=True)
class Balance:
    """A key's month in millionths of a dollar: its budget (None: no limit), the cost of its ended
    attempts, and the estimates of its open jobs."""

    budget: int | None
    spent: int = 0
    reserved: int = 0

    @property
    def remaining(self) -> int | None:
        """Return how much may still be reserved; None: any amount."""
        return None if self.budget is None else max(0, self.budget - self.spent - self.reserved)

    def allows(self, estimate: int) -> bool:
        return self.budget is None or self.spent + self.reserved + estimate <= self.budget

    def exceeded(self, estimated_usd: float) -> BudgetExceeded:
        """Return the error for an estimate that the budget does not allow."""
        assert self.budget is not None, "only a budget can be exceeded"
        return BudgetExceeded(
            budget=self.budget / 1e6,
            spent=self.spent / 1e6,
            reserved=self.reserved / 1e6,
            estimated=estimated_usd,
        )


def _words(name: str) -> frozenset[str]:
    words = re.findall(r"[A-Z0-9]+", name.upper())
    return frozenset(_ALIASES.get(word, word) for word in words)
