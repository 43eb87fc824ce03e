"""What a second of a GPU costs, what an attempt has cost by that, and how a key's budget stands."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from service.domain.models.catalog import CARDS

# Modal's list prices, US dollars a second (https://modal.com/pricing): the list of July 2026, of
# which L40S, A100 and H100 were looked up again on 2026-10-07. CPU and memory are billed beside.
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
_ALIASES = {"A10G": "A10"}  # what the card itself says, and what it is sold as


@dataclass(frozen=True)
class Rate:
    """US dollars for one second of a GPU, and where the figure comes from. `gpu` is None where
    none is needed, or none is paid for."""

    usd_per_second: float
    source: str
    gpu: str | None = None


NO_GPU = Rate(0.0, "needs no GPU")
# A worker on the owner's own machine is not billed by anybody.
UNBILLED = Rate(0.0, "own hardware: not billed")


@dataclass(frozen=True)
class Rates:
    """What a second costs here, by the names of GPUs. No name at all: nothing is billed.

    `gpus` says on which each model runs, the first to try in front. `host` is what the CPU and
    memory beside a GPU cost a second.
    """

    table: Mapping[str, Rate] = field(default_factory=dict)
    gpus: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    host: float = 0.0

    def expected(self, model: str) -> Rate:
        """The rate before a job: that of the GPU which its model tries first."""
        if not self.needs_gpu(model):
            return NO_GPU
        first = next(iter(self.gpus.get(model, ())), None)
        return self._with_host(self._known(first) or self._dearest(model, f"no rate for {first}"))

    def actual(self, model: str, reported: str | None) -> Rate:
        """The rate of what a worker ran on, as it says; of one that is not in the table, or that
        nobody named, the dearest that the model runs on, and the source says so."""
        if not self.needs_gpu(model):
            return NO_GPU
        why = f"{reported[:40]} has no rate" if reported else "no worker named its GPU"
        return self._with_host(self._known(reported) or self._dearest(model, why))

    def needs_gpu(self, model: str) -> bool:
        """A model that is not known may need one."""
        return self.gpus.get(model) != ()

    @property
    def billed(self) -> bool:
        return bool(self.table)

    def _known(self, name: str | None) -> Rate | None:
        """Whose words are all in `name`: `NVIDIA A100-SXM4-80GB` is an A100-80GB."""
        if not self.billed:
            return UNBILLED
        said = _words(name or "")
        found = [each for each in self.table if _words(each) <= said]
        return self.table[max(found, key=lambda each: len(_words(each)))] if found else None

    def _dearest(self, model: str, why: str) -> Rate:
        own = [rate for name in self.gpus.get(model, ()) if (rate := self._known(name))]
        dearest = _dearest(own or self.table.values())
        source = f"{why}; the dearest for {model[:24]}: {dearest.source}"
        return Rate(dearest.usd_per_second, source[:_MAX_SOURCE], dearest.gpu)

    def _with_host(self, rate: Rate) -> Rate:
        if rate is UNBILLED:
            return rate
        return Rate(rate.usd_per_second + self.host, rate.source, rate.gpu)


def table_of(usd_per_second: Mapping[str, float], source: str) -> dict[str, Rate]:
    return {name: Rate(usd, f"{name} by {source}", name) for name, usd in usd_per_second.items()}


MODAL_TABLE = table_of(MODAL_USD_PER_SECOND, MODAL_LIST)
# On which GPUs each model runs, unless a service says otherwise.
GPUS: Mapping[str, tuple[str, ...]] = {card.name: card.gpus for card in CARDS.values()}
OWN_HARDWARE = Rates(gpus=GPUS)


def cost_usd(seconds: float, rate: Rate) -> float:
    return seconds * rate.usd_per_second


def microusd(usd: float) -> int:
    """Money is kept and summed in whole millionths of a dollar."""
    return round(usd * 1e6)


def month_of(moment: datetime) -> int:
    """Months are numbered, so that a later one is the larger number. UTC, as all times are."""
    return moment.year * 12 + moment.month


@dataclass(frozen=True)
class Charge:
    """What an attempt has cost when it ended, `at`: its GPU seconds, in whole milliseconds, at a
    rate. `gpu` is what it ran on, as far as anybody said. Without a rate: it never began."""

    at: datetime
    gpu_ms: int = 0
    rate: Rate | None = None
    gpu: str | None = None

    @property
    def microusd(self) -> int:
        return 0 if self.rate is None else microusd(cost_usd(self.gpu_ms / 1000, self.rate))

    @property
    def booked_under(self) -> str:
        """The rate's own name for the GPU where that is what it ran on."""
        if self.gpu is None or self.rate is None:
            return ""
        named = self.rate.gpu
        return named if named and _words(named) <= _words(self.gpu) else self.gpu


@dataclass(frozen=True)
class Balance:
    """How a key stands in a month, in millionths of a dollar: its budget (None: no bound), what
    its ended attempts have cost, and the estimates of its open jobs."""

    budget: int | None
    spent: int = 0
    reserved: int = 0

    @property
    def left(self) -> int | None:
        """What may still be reserved; None: any amount."""
        return None if self.budget is None else max(0, self.budget - self.spent - self.reserved)

    def allows(self, estimate: int) -> bool:
        return self.budget is None or self.spent + self.reserved + estimate <= self.budget


def _words(name: str) -> frozenset[str]:
    found = re.findall(r"[A-Z0-9]+", name.upper())
    return frozenset(_ALIASES.get(word, word) for word in found)


def _dearest(rates: Iterable[Rate]) -> Rate:
    return max(rates, key=lambda rate: rate.usd_per_second)
