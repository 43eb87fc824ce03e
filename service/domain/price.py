"""What GPU seconds cost."""

from dataclasses import dataclass

from service.domain.keeping import Keeping


@dataclass(frozen=True)
class Rate:
    """US dollars for one second of a GPU, and where the figure comes from."""

    usd_per_second: float
    source: str


# A worker on the owner's own machine is not billed by anybody.
OWN_HARDWARE = Rate(0.0, "own hardware: not billed")


def cost_usd(seconds: float, rate: Rate) -> float:
    return seconds * rate.usd_per_second


@dataclass(frozen=True)
class Terms:
    """On what terms a finished job is kept: what its GPU seconds cost, how long what stays."""

    rate: Rate
    keeping: Keeping
