"""Submit a final job's request again, with changes."""

from collections.abc import Collection
from typing import Any, assert_never

from pydantic import ValidationError

from service.domain.attempt import input_key
from service.domain.avatar import AvatarRequest
from service.domain.errors import FieldError, RequestRefused
from service.domain.job import Job
from service.domain.kinds import KINDS, JobParams
from service.domain.media import MEDIA_RULES, Role, keyframe_role
from service.domain.request import JobOptions, VideoRequest

# Kept for another model, which has its own sizes, steps and strength.
_PORTABLE = ("prompt", "seed", *MEDIA_RULES, "keep_audio", "fit")

_SPEAKERS = ("voice", "speed")


def params_again(
    old: Job, options: JobOptions, without: Collection[str] = frozenset()
) -> JobParams:
    """Return the old request's params with `options` applied; a new model uses its defaults, as
    does the same one for the fields `without`."""
    changes = options.model_dump(exclude_none=True)
    common = {
        "metadata": old.metadata,
        "priority": old.priority,
        "timeout_seconds": old.timeout_seconds,
        "webhook_url": old.webhook_url,
        "webhook_events": old.webhook_events,
    }
    match old.request:
        case AvatarRequest() as request:
            fields = _avatar_fields(old, request, changes)
        case VideoRequest():
            fields = _video_fields(old, changes)
        case _ as unknown:
            assert_never(unknown)
    fields = {name: value for name, value in fields.items() if name not in without}
    try:
        return KINDS[old.request.kind].params(**{**common, **fields, **changes})
    except ValidationError as error:
        raise RequestRefused(
            [
                FieldError("", fault["msg"].removeprefix("Value error, "), fault["type"])
                for fault in error.errors()
            ]
        ) from None


def _video_fields(old: Job, changes: dict[str, Any]) -> dict[str, Any]:
    fields = old.request.model_dump(exclude={"kind"}, exclude_none=True) | _media_fields(old)
    if "models" in changes or changes.get("model", fields["model"]) != fields["model"]:
        fields = {name: fields[name] for name in _PORTABLE if name in fields}
    if changes.keys() & MEDIA_RULES.keys():
        fields = _without_replaced(fields, changes)
    if "duration_seconds" in changes:
        fields.pop("num_frames", None)
    return fields


def _avatar_fields(old: Job, request: AvatarRequest, changes: dict[str, Any]) -> dict[str, Any]:
    is_spoken = _is_spoken(request, changes)
    names = _names_kept(changes, is_spoken=is_spoken)
    fields = request.model_dump(include=names, exclude_none=True) | _media_fields(old)
    if "avatar" in changes:
        fields.pop("reference_image", None)
    if request.prompt:
        fields["prompt"] = request.prompt
    if is_spoken:
        fields.pop("audio", None)
    if request.duration_seconds is not None and not (is_spoken and "text" in changes):
        fields["duration_seconds"] = request.duration_seconds
    return fields


def _names_kept(changes: dict[str, Any], *, is_spoken: bool) -> set[str]:
    """Return the fields of an avatar that are repeated, as far as they are not replaced."""
    names = {"text", "seed", "captions"}
    if is_spoken:
        names |= {"voice", "speed"}
    if "model" not in changes and "models" not in changes:
        names |= {"model", "width", "height"}
    if "audio" in changes:
        names -= {"text"}
    if "resolution" in changes:
        names -= {"width", "height"}
    return names


def _is_spoken(request: AvatarRequest, changes: dict[str, Any]) -> bool:
    """Tell whether a retry has its text spoken, without a recording. With captions, a new text says
    what is heard in the recording, unless there is a voice for it."""
    if "audio" in changes or request.audio is None:
        return "audio" not in changes
    has_captions = request.captions is not None or "captions" in changes
    return "text" in changes and not (has_captions and changes.keys().isdisjoint(_SPEAKERS))


def input_reference(job: Job, role: Role) -> str:
    """Return the text by which a retry refers to a stored input of `job`."""
    return f"kept:{input_key(job.id, role)}"


def _media_fields(old: Job) -> dict[str, Any]:
    media = old.request.media
    texts = {role: ref.url or input_reference(old, role) for role, ref in media.items()}
    fields: dict[str, Any] = {role: text for role, text in texts.items() if "/" not in role}
    if isinstance(old.request, VideoRequest) and old.request.keyframes:
        fields["keyframes"] = [
            {"frame": keyframe.frame, "image": texts[keyframe_role(number)]}
            for number, keyframe in enumerate(old.request.keyframes)
        ]
    return fields


def _without_replaced(fields: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Drop the images where a video replaces them, and the other way round."""
    images = ("image", "last_image", "loop", "keyframes")
    video = ("video", "strength", "keep_audio")
    obsolete = images if "video" in changes else video
    return {name: value for name, value in fields.items() if name not in obsolete}
