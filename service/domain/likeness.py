"""Likenesses of people who agreed to it, kept until they are deleted: avatars of a photo, and
voices."""

from collections.abc import Mapping
from typing import Annotated, NewType, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from service.domain.ids import KeyId, parse
from service.domain.media import SAMPLES, MediaRef, Role
from service.domain.request import MediaBody, MediaText
from service.domain.text import Label, Text, _not_blank, _storable

AvatarId = NewType("AvatarId", str)
AVATAR_PREFIX = "ava"
VoiceId = NewType("VoiceId", str)
VOICE_PREFIX = "voi"
MAX_SAMPLES = 25

Name = Annotated[
    str, Field(min_length=1, max_length=120), AfterValidator(_storable), AfterValidator(_not_blank)
]
Statement = Annotated[
    str, Field(min_length=1, max_length=2000), AfterValidator(_storable), AfterValidator(_not_blank)
]


def avatar_id_of(text: str) -> AvatarId:
    """Parse an avatar's id. Raises NotFound for a malformed one."""
    return AvatarId(parse(AVATAR_PREFIX, "avatar", text))


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


class NewVoice(NewLikeness):
    """The body of `POST /v1/voices`: recordings of the voice to clone."""

    samples: Annotated[list[MediaText], Field(min_length=1, max_length=MAX_SAMPLES)] = Field(
        description="Recordings of one person alone, a minute or more in all; each is a part of a "
        "multipart form, base64 or a `data:` URI."
    )
    language: Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,3}$")] | None = (
        Field(default=None, description="That of the recordings, such as `en` or `pt-BR`.")
    )
    remove_noise: bool | None = Field(
        default=None, description="Remove noise from the recordings before they are used."
    )

    @property
    def media_texts(self) -> dict[Role, str]:
        return {f"{SAMPLES}/{number}": text for number, text in enumerate(self.samples)}

    def with_media_texts(self, texts: Mapping[Role, str]) -> Self:
        """Return a copy with some of the recordings' texts replaced."""
        samples = [texts.get(role, text) for role, text in self.media_texts.items()]
        return self.model_copy(update={"samples": samples})


class ClonedVoice(BaseModel):
    """A voice that a key has had cloned, under the provider's own id. One that
    `needs_verification` speaks after its owner has confirmed it there."""

    model_config = ConfigDict(frozen=True)

    id: VoiceId
    key_id: KeyId
    name: str
    language: str = ""
    provider_id: str
    needs_verification: bool = False
    consent: Consent
    created_at: AwareDatetime
