"""Response models of rates, budgets and usage."""

from datetime import date
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from service.domain.price import Balance, Rate
from service.domain.speech import SpeechUsage


class Cost(BaseModel):
    """US dollars: the estimate, and the cost of the speech and of all attempts that have ended,
    failed ones too."""

    estimated_usd: float = Field(description="By the most expensive of its models.")
    actual_usd: float | None = None
    gpu_seconds: float = 0.0
    gpu: str | None = Field(default=None, description="The GPU that the rate is for.")
    usd_per_second: float | None = None
    rate_source: str | None = Field(default=None, description="Source of the rate.")
    speech: SpeechUsage | None = Field(
        default=None, description="Of the text of an avatar, once it was spoken."
    )


class RateOut(BaseModel):
    """A rate in US dollars per second."""

    gpu: str | None = Field(description="Null where none is used or billed.")
    usd_per_second: float
    source: str

    @classmethod
    def from_domain(cls, rate: Rate) -> Self:
        return cls(gpu=rate.gpu, usd_per_second=rate.usd_per_second, source=rate.source)


class Budget(BaseModel):
    """The balance of a key for this month (UTC), in US dollars."""

    budget_usd: float | None = Field(description="Null: no limit.")
    spent_usd: float = Field(
        description="Cost of the attempts that ended this month, and of what was spoken."
    )
    reserved_usd: float = Field(description="Estimates of all jobs that are not final.")
    left_usd: float | None = Field(description="The highest estimate that a new job may have.")

    @classmethod
    def from_domain(cls, balance: Balance) -> Self:
        return cls(
            budget_usd=None if balance.budget is None else balance.budget / 1e6,
            spent_usd=balance.spent / 1e6,
            reserved_usd=balance.reserved / 1e6,
            left_usd=None if balance.remaining is None else balance.remaining / 1e6,
        )


class Sums(BaseModel):
    """The number of `jobs` that ended, and GPU seconds and US dollars of all ended attempts
    and of speech."""

    jobs: int
    gpu_seconds: float
    cost_usd: float


class UsageRow(Sums):
    """The sums of one day (UTC), one model, or one key, by `group_by`."""

    day: date | None = None
    model: str | None = None
    key: str | None = Field(default=None, description="A key's id.")
    key_name: str | None = None


class Usage(BaseModel):
    """Usage from one day to another, both included."""

    model_config = ConfigDict(populate_by_name=True)

    object: Literal["usage"] = "usage"
    first: date = Field(alias="from")
    last: date = Field(alias="to")
    group_by: Literal["day", "model", "key"]
    data: list[UsageRow]
    total: Sums
    budget: Budget = Field(description="Of the requesting key, this month.")
