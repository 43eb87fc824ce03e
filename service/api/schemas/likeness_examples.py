"""Examples of likenesses for the OpenAPI document."""

from datetime import UTC, datetime
from typing import Any

from service.api.schemas.avatars import AvatarList, AvatarOut
from service.api.schemas.voices import VoiceList, VoiceOut
from service.domain.ids import KeyId
from service.domain.likeness import AvatarId, ClonedVoice, Consent, SavedAvatar, VoiceId
from service.domain.media import MediaRef
from service.lifecycle.likenesses import entry_of

_NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
_KEY = KeyId("key_06h0d9vq1dp9l4uu8vk1jbtr78")
_STATEMENT = "Anna Berg agreed in writing on 3 May 2026 that we may animate her portrait."
_CONSENT = Consent(text=_STATEMENT, by="the editor", at=_NOW)


def likeness_examples() -> dict[str, Any]:
    """Return an example of each schema, by its name."""
    avatar, voice = _avatar(), _voice()
    new_voice = {"name": "Anna", "samples": ["SUQzBAAAAA…"], "consent": _STATEMENT}
    new = {"name": "Anna", "image": "/9j/4AAQSkZJRg…", "consent": _STATEMENT}
    return {
        "NewAvatar": new,
        "NewAvatarForm": new,
        "NewVoice": new_voice,
        "NewVoiceForm": new_voice,
        "VoiceOut": voice,
        "VoiceList": VoiceList(
            data=[voice], first_id=voice.id, last_id=voice.id, has_more=False, problems=[]
        ),
        "AvatarOut": avatar,
        "AvatarList": AvatarList(
            data=[avatar], first_id=avatar.id, last_id=avatar.id, has_more=False
        ),
    }


def _voice() -> VoiceOut:
    clone = ClonedVoice(
        id=VoiceId("voi_06h0d9vq1dp9l4uu8vk1jbtr78"),
        key_id=_KEY,
        name="Anna",
        language="en",
        provider_id="21m00Tcm4TlvDq8ikWAM",
        consent=_CONSENT,
        created_at=_NOW,
    )
    return VoiceOut.from_domain(entry_of(clone), "http://127.0.0.1:8787")


def _avatar() -> AvatarOut:
    image = MediaRef(
        source="upload",
        media_type="image/jpeg",
        size_bytes=34_928,
        sha256="0" * 64,
        width=768,
        height=1024,
    )
    return AvatarOut.from_domain(
        SavedAvatar(
            id=AvatarId("ava_06h0d9vq1dp9l4uu8vk1jbtr78"),
            key_id=_KEY,
            name="Anna",
            image=image,
            voice="hibari-heart",
            consent=_CONSENT,
            created_at=_NOW,
        )
    )
