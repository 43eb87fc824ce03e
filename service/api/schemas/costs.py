"""Wire shapes of money: rates, budgets and usage. `from_domain` builds each from domain words."""

from datetime import date
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from service.domain.price import Balance, Rate


class Cost(BaseModel):
    """US dollars: expected, and what all attempts that have ended cost, failed ones too."""

    estimated_usd: float = Field(description="By the dearest of the models that may make it.")
    actual_usd: float | None = None
    gpu_seconds: float = 0.0
    gpu: str | None = Field(default=None, description="Whose rate it is.")
    usd_per_second: float | None = None
    rate_source: str | None = Field(default=None, description="Where that rate comes from.")


class RateOut(BaseModel):
    """US dollars for one second."""

    gpu: str | None = Field(description="Null where none is needed or none is billed.")
    usd_per_second: float
    source: str

    @classmethod
    def from_domain(cls, rate: Rate) -> Self:
        return cls(gpu=rate.gpu, usd_per_second=rate.usd_per_second, source=rate.source)


class Budget(BaseModel):
    """How a key stands this month (UTC), in US dollars."""

    budget_usd: float | None = Field(description="Null: no bound.")
    spent_usd: float = Field(description="What the attempts cost that ended this month.")
    reserved_usd: float = Field(description="The estimates of all jobs that are not final.")
    left_usd: float | None = Field(description="What a new job may be expected to cost.")

    @classmethod
    def from_domain(cls, balance: Balance) -> Self:
        left = balance.left
        return cls(
            budget_usd=None if balance.budget is None else balance.budget / 1e6,
            spent_usd=balance.spent / 1e6,
            reserved_usd=balance.reserved / 1e6,
            left_usd=None if left is None else left / 1e6,
        )


class Sums(BaseModel):
    """`jobs` that ended, and what all attempts took that did, in GPU seconds and US dollars."""

    jobs: int
    gpu_seconds: float
    cost_usd: float


class UsageRow(Sums):
    """The sums of one day (UTC), one model, or one key, as `group_by` asked."""

    day: date | None = None
    model: str | None = None
    key: str | None = Field(default=None, description="A key's id.")
    key_name: str | None = None


class Usage(BaseModel):
    """What jobs took from one day to another, both included."""

    model_config = ConfigDict(populate_by_name=True)

    object: Literal["usage"] = "usage"
    first: date = Field(alias="from")
    last: date = Field(alias="to")
    group_by: Literal["day", "model", "key"]
    data: list[UsageRow]
    total: Sums
    budget: Budget = Field(description="Of the key that asks, this month.")
