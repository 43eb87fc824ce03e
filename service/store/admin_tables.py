"""The tables of the admin pages, under the rules of tables.py."""

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from service.store.columns import Id, Instant


class SessionRow(SQLModel, table=True):
    """A login to the admin pages. Its token is stored as a hash."""

    __tablename__ = "sessions"

    token_hash: bytes = Field(sa_type=sa.LargeBinary(32), primary_key=True)
    key_id: str = Field(sa_type=Id, foreign_key="keys.id", index=True)
    created_at: datetime = Field(sa_type=Instant)
    expires_at: datetime = Field(sa_type=Instant, index=True)
