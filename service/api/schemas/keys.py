"""Bodies and response models of API keys."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.api.schemas.costs import Budget
from service.domain.key import Key, KeyRole, new_key
from service.domain.price import Balance, microusd
from service.domain.text import Text

# The maximum fits a 64-bit integer in millionths.
_BudgetUsd = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class BudgetBody(BaseModel):
    """The monthly budget of a key; null: no limit."""

    model_config = ConfigDict(extra="forbid", strict=True)

    budget_usd: _BudgetUsd | None = Field(description="US dollars a calendar month, UTC.")

    @property
    def budget(self) -> int | None:
        """Return it in millionths of a dollar."""
        return None if self.budget_usd is None else microusd(self.budget_usd)


class KeyBody(BudgetBody):
    """A new key."""

    name: Annotated[Text, Field(min_length=1, max_length=120)]
    role: KeyRole | None = Field(
        default=None,
        strict=False,
        description="`viewer` may see everything in /admin, and change nothing. Default: `user`.",
    )
    admin: bool = Field(default=False, description="The same as the role `admin`.")
    budget_usd: _BudgetUsd | None = Field(
        default=None, description="US dollars that its jobs may cost in a month. Default: no limit."
    )

    @model_validator(mode="after")
    def _check_role(self) -> Self:
        if self.admin and self.role not in (None, KeyRole.ADMIN):
            raise ValueError("give role or admin, not both")
        return self

    def key(self, secret: str, now: datetime) -> Key:
        role = KeyRole.ADMIN if self.admin else self.role or KeyRole.USER
        return new_key(secret, name=self.name, now=now, role=role)


class KeyOut(BaseModel):
    """An API key without its secret."""

    id: str
    object: Literal["key"] = "key"
    name: str
    prefix: str
    role: KeyRole
    admin: bool = Field(description="Whether the role is `admin`.")
    budget: Budget
    created_at: datetime
    revoked_at: datetime | None

    @classmethod
    def from_domain(cls, key: Key, balance: Balance) -> Self:
        return cls(
            id=key.id,
            name=key.name,
            prefix=key.prefix,
            role=key.role,
            admin=key.admin,
            budget=Budget.from_domain(balance),
            created_at=key.created_at,
            revoked_at=key.revoked_at,
        )


class NewKeyOut(BaseModel):
    """A new API key; its `secret` is returned only once."""

    key: KeyOut
    secret: str


class KeyList(BaseModel):
    object: Literal["list"] = "list"
    data: list[KeyOut]
