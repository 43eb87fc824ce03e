"""Response models of saved avatars."""

from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, Field

from service.domain.likeness import Consent, SavedAvatar


class AvatarImage(BaseModel):
    """The photo of an avatar, as it was sent."""

    media_type: str
    size_bytes: int
    sha256: str
    width: int | None = Field(description="Pixels, upright; null where its header does not tell.")
    height: int | None


class AvatarOut(BaseModel):
    """A face that can be named in jobs, until it is deleted."""

    id: str
    object: Literal["avatar"] = "avatar"
    name: str
    image: AvatarImage
    warnings: list[str] = Field(description="What may look worse than it could, and why.")
    voice: str | None = Field(description="The voice of its texts where a job names none.")
    consent: Consent
    created_at: datetime

    @classmethod
    def from_domain(cls, avatar: SavedAvatar) -> Self:
        image = avatar.image
        return cls(
            id=avatar.id,
            name=avatar.name,
            image=AvatarImage(
                media_type=image.media_type or "",
                size_bytes=image.size_bytes or 0,
                sha256=image.sha256 or "",
                width=image.width,
                height=image.height,
            ),
            warnings=list(avatar.warnings),
            voice=avatar.voice,
            consent=avatar.consent,
            created_at=avatar.created_at,
        )


class AvatarList(BaseModel):
    """A page of avatars; continue with `?after=<last_id>` while `has_more`."""

    object: Literal["list"] = "list"
    data: list[AvatarOut]
    first_id: str | None
    last_id: str | None
    has_more: bool
