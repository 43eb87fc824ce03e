"""The models that may make a job's video."""

from pydantic import BaseModel, ConfigDict

from service.domain.avatar import AnyRequest
from service.domain.price import Rate, cost_usd


class ModelChoice(BaseModel):
    """A model that may make a video, with the request as it was resolved for it.

    `expected_ms` is its expected duration on a warm worker; the rest is the rate of the GPU that it
    tries first.
    """

    model_config = ConfigDict(frozen=True)

    request: AnyRequest
    expected_ms: int
    rate_source: str | None = None
    rate_gpu: str | None = None
    usd_per_second: float | None = None

    @property
    def rate(self) -> Rate:
        return Rate(self.usd_per_second or 0.0, self.rate_source or "", self.rate_gpu)

    @property
    def estimated_usd(self) -> float:
        return round(cost_usd(self.expected_ms / 1000, self.rate), 6)
