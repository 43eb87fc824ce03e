"""Likenesses of people who agreed to it, kept until they are deleted: avatars of a photo."""

from typing import Annotated, NewType

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from service.domain.ids import KeyId
from service.domain.media import MediaRef, Role
from service.domain.options import MediaBody, MediaText
from service.domain.text import Label, Text, _not_blank, _storable

AvatarId = NewType("AvatarId", str)
AVATAR_PREFIX = "ava"

Name = Annotated[
    str, Field(min_length=1, max_length=120), AfterValidator(_storable), AfterValidator(_not_blank)
]
Statement = Annotated[
    str, Field(min_length=1, max_length=2000), AfterValidator(_storable), AfterValidator(_not_blank)
]


class Consent(BaseModel):
    """The statement that a person agreed to be shown or heard: its text, who made it, and when."""

    model_config = ConfigDict(frozen=True)

    text: str
    by: str
    at: AwareDatetime


class NewLikeness(MediaBody):
    """The fields of every new likeness."""

    name: Name
    consent: Statement = Field(
        description="The statement that the person agreed to it, and how: kept with the date.",
        examples=["Anna Berg agreed in writing on 3 May 2026 that we may animate her portrait."],
    )
    consent_by: Name | None = Field(
        default=None, description="Who makes this statement. Default: the name of the API key."
    )


class NewAvatar(NewLikeness):
    """The body of `POST /v1/avatars`."""

    image: MediaText = Field(
        description="A photo of the one face that is to speak: base64, a `data:` URI, or a part of "
        "a multipart form."
    )
    voice: Label | None = Field(
        default=None, description="The voice of its texts where a job names none."
    )

    @property
    def media_texts(self) -> dict[Role, str]:
        return {"image": self.image}


class SavedAvatar(BaseModel):
    """An avatar of a key. `warnings` are what the check of its photo noticed."""

    model_config = ConfigDict(frozen=True)

    id: AvatarId
    key_id: KeyId
    name: str
    image: MediaRef
    warnings: tuple[Text, ...] = ()
    voice: str | None = None
    consent: Consent
    created_at: AwareDatetime

    @property
    def image_key(self) -> str:
        return f"{avatar_folder(self.id)}/image"


def avatar_folder(avatar_id: AvatarId) -> str:
    """Return the prefix of everything that is stored of an avatar."""
    return f"avatars/{avatar_id}"
