"""Response models of API keys."""

from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, Field

from service.api.schemas.costs import Budget
from service.domain.key import Key, KeyRole
from service.domain.price import Balance


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
