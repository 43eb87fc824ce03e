"""Response models of voices."""

from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, Field

from service.domain.likeness import Consent
from service.lifecycle.likenesses import Entry
from service.speech.base import Provider


class VoiceOut(BaseModel):
    """A voice that can be named in jobs. The last three are null for one of the service."""

    id: str
    object: Literal["voice"] = "voice"
    name: str
    language: str = Field(description="A BCP 47 tag; empty for any language.")
    provider: Provider
    gender: str = Field(description="As the provider says it.")
    is_clone: bool
    word_times: bool = Field(description="Whether it tells when each word is spoken.")
    min_speed: float
    max_speed: float
    sample_url: str = Field(description="A short WAV, for requests with a key.")
    needs_verification: bool | None = Field(
        description="Whether its owner must confirm it at the provider before it speaks."
    )
    consent: Consent | None
    created_at: datetime | None

    @classmethod
    def from_domain(cls, entry: Entry, base_url: str) -> Self:
        info, clone = entry.info, entry.clone
        return cls(
            id=info.id,
            name=info.name,
            language=info.language,
            provider=info.provider,
            gender=info.gender,
            is_clone=info.is_clone,
            word_times=info.has_words,
            min_speed=info.min_speed,
            max_speed=info.max_speed,
            sample_url=f"{base_url}/v1/voices/{info.id}/sample",
            needs_verification=None if clone is None else clone.needs_verification,
            consent=None if clone is None else clone.consent,
            created_at=None if clone is None else clone.created_at,
        )


class VoiceList(BaseModel):
    """A page of voices; continue with `?after=<last_id>` while `has_more`."""

    object: Literal["list"] = "list"
    data: list[VoiceOut]
    first_id: str | None
    last_id: str | None
    has_more: bool
    problems: list[str] = Field(description="Why voices of a provider cannot be listed now.")
