"""Likenesses that stay: avatars, a checked photo with a name, a voice and a statement of consent;
and voices, those of the service and clones that a key has had made."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse

from service.api.body.parse import NewAvatarDep, NewVoiceDep, body_of
from service.api.deps import ContextDep
from service.api.schemas.avatars import AvatarList, AvatarOut
from service.api.schemas.jobs import DeletedObject
from service.api.schemas.responses import header_docs, problem_docs
from service.api.schemas.voices import VoiceList, VoiceOut
from service.api.submit import CreationKey, idempotency_of
from service.domain import ids
from service.domain.errors import FieldError, RequestRefused
from service.domain.likeness import (
    AVATAR_PREFIX,
    AvatarId,
    NewAvatar,
    NewVoice,
    SavedAvatar,
    avatar_id_of,
)
from service.lifecycle.likenesses import Entry, entries_after, entry_of, remove_avatar
from service.runtime import voices as runtime_voices
from service.runtime.avatars import create_avatar, find_avatar
from service.store import likenesses

avatars = APIRouter(prefix="/v1/avatars", tags=["avatars"])
voices = APIRouter(prefix="/v1/voices", tags=["voices"])


class AvatarQuery(BaseModel):
    """A page of a list."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=20, ge=1, le=100)
    after: str | None = Field(default=None, description="The `last_id` of the page before.")

    def after_avatar(self) -> AvatarId | None:
        """Raises RequestRefused for what is no id; one of a deleted avatar is no error."""
        if self.after is None or ids.is_id(AVATAR_PREFIX, self.after):
            return None if self.after is None else AvatarId(self.after)
        detail = f"{self.after[:64]!r} is not an avatar's id"
        raise RequestRefused([FieldError("?after", detail, "invalid_id")])


@avatars.post(
    "",
    status_code=201,
    responses={
        201: {
            "description": "Created, or created before.",
            **header_docs("Location", "Idempotency-Replayed"),
        },
        **problem_docs(400, "invalid_form", 401, "too_many_avatars", "no_face_check"),
        **problem_docs(413, 415, 422, "idempotency_key_reused", 429, "inputs_full", 503, 507),
    },
    openapi_extra=body_of(NewAvatar),
)
async def create(
    body: NewAvatarDep,
    request: Request,
    response: Response,
    context: ContextDep,
    idempotency_key: CreationKey = None,
) -> AvatarOut:
    """Keep a face for jobs to come. Its photo is checked now, as a job would check it."""
    photo = body.files.get("image")
    if photo is None:
        detail = "send the photo itself: a file of a form, base64 or a data URI"
        raise RequestRefused([FieldError("/image", detail, "not_a_file")])
    idempotency = idempotency_of(request, idempotency_key, body.params)
    creation = await create_avatar(context.runtime, context.key, body.params, photo, idempotency)
    response.headers["Location"] = f"{context.links.base}/v1/avatars/{creation.avatar.id}"
    if creation.is_replay:
        response.headers["Idempotency-Replayed"] = "true"
    return AvatarOut.from_domain(creation.avatar)


@avatars.get("", responses=problem_docs(401, 422, 429))
async def list_avatars(query: Annotated[AvatarQuery, Query()], context: ContextDep) -> AvatarList:
    """Your avatars, newest first."""
    key_id, after = context.key.id, query.after_avatar()
    rows = await context.runtime.read(
        lambda tx: likenesses.page(tx, SavedAvatar, key_id, size=query.limit + 1, after=after)
    )
    page = [AvatarOut.from_domain(row) for row in rows[: query.limit]]
    return AvatarList(
        data=page,
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
        has_more=len(rows) > query.limit,
    )


@avatars.get("/{avatar_id}", responses=problem_docs(401, 404, 429))
async def get_avatar(avatar_id: str, context: ContextDep) -> AvatarOut:
    """One avatar; for an admin key also that of another key."""
    key = context.key
    owner = None if key.admin else key.id
    return AvatarOut.from_domain(await find_avatar(context.runtime, avatar_id, owner))


@avatars.delete("/{avatar_id}", responses=problem_docs(401, 404, 429, 503))
async def delete_avatar(avatar_id: str, context: ContextDep) -> DeletedObject:
    """Delete an avatar and its photo at once. Jobs that were accepted with it keep their copy. An
    admin key may delete that of any key."""
    runtime, key = context.runtime, context.key
    owner = None if key.admin else key.id
    id_ = avatar_id_of(avatar_id)
    await run_in_threadpool(remove_avatar, runtime.db, runtime.artifacts, id_, owner, context.actor)
    return DeletedObject(id=id_, object="avatar")


_WAV = {"audio/wav": {"schema": {"type": "string", "format": "binary"}}}


class VoiceQuery(BaseModel):
    """Filters and page of a list of voices."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=100, ge=1, le=100)
    after: str | None = Field(default=None, description="The `last_id` of the page before.")
    language: str | None = Field(
        default=None, max_length=40, description="Voices of this language: `en` takes `en-GB` too."
    )

    def selects(self, entry: Entry) -> bool:
        tag, wanted = entry.info.language.lower(), (self.language or "").lower()
        return not wanted or tag in ("", wanted) or tag.startswith(f"{wanted}-")


@voices.post(
    "",
    status_code=201,
    responses={
        201: {
            "description": "Cloned, or cloned before.",
            **header_docs("Location", "Idempotency-Replayed"),
        },
        **problem_docs(400, "invalid_form", 401, "too_many_voices", "no_voice_provider", 413),
        **problem_docs(415, 422, "idempotency_key_reused", 429, 503, "voice_provider_failed", 507),
    },
    openapi_extra=body_of(NewVoice),
)
async def create_voice_clone(
    body: NewVoiceDep,
    request: Request,
    response: Response,
    context: ContextDep,
    idempotency_key: CreationKey = None,
) -> VoiceOut:
    """Clone a voice from recordings, by ElevenLabs. Only your key can use it."""
    for role in body.params.media_texts:
        if role not in body.files:
            detail = "send the recording itself: a file of a form, base64 or a data URI"
            raise RequestRefused([FieldError(f"/{role}", detail, "not_a_file")])
    idempotency = idempotency_of(request, idempotency_key, body.params)
    voice, is_replay = await runtime_voices.create_voice(
        context.runtime, context.key, body.params, body.files, idempotency
    )
    response.headers["Location"] = f"{context.links.base}/v1/voices/{voice.id}"
    if is_replay:
        response.headers["Idempotency-Replayed"] = "true"
    return VoiceOut.from_domain(entry_of(voice), context.links.base)


@voices.get("", responses=problem_docs(401, 422, 429))
async def list_voices(query: Annotated[VoiceQuery, Query()], context: ContextDep) -> VoiceList:
    """Voices for your jobs: your clones, newest first, then those of the service."""
    entries, problems = await runtime_voices.list_voices(context.runtime, context.key)
    if query.after is not None:
        entries = entries_after(entries, query.after)
    rest = [entry for entry in entries if query.selects(entry)]
    page = [VoiceOut.from_domain(entry, context.links.base) for entry in rest[: query.limit]]
    return VoiceList(
        data=page,
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
        has_more=len(rest) > query.limit,
        problems=list(problems),
    )


@voices.get("/{voice_id}", responses=problem_docs(401, 404, 429, 503, "voice_provider_failed"))
async def get_voice(voice_id: str, context: ContextDep) -> VoiceOut:
    """One voice; for an admin key also a clone of another key."""
    entry = await runtime_voices.get_voice(context.runtime, context.key, voice_id)
    return VoiceOut.from_domain(entry, context.links.base)


@voices.get(
    "/{voice_id}/sample",
    response_class=FileResponse,
    responses={
        200: {"description": "A short WAV.", "content": _WAV, **header_docs("ETag")},
        **problem_docs(401, 402, 404, 422, 429, 503, "voice_provider_failed"),
    },
)
async def get_voice_sample(voice_id: str, context: ContextDep) -> FileResponse:
    """A sentence by this voice. The first request of all has it spoken, and pays for it."""
    path = await runtime_voices.sample_of(context.runtime, context.key, voice_id)
    return FileResponse(path, media_type="audio/wav")


@voices.delete(
    "/{voice_id}",
    responses=problem_docs(
        401, 404, "not_your_voice", "no_voice_provider", 422, 429, 503, "voice_provider_failed"
    ),
)
async def delete_voice(voice_id: str, context: ContextDep) -> DeletedObject:
    """Delete a clone, here and at ElevenLabs. Jobs that wait for it fail: `voice_unknown`. An admin
    key may delete that of any key."""
    runtime, key = context.runtime, context.key
    remove = partial(runtime.voices.remove, runtime.artifacts, voice_id, key.id, context.actor)
    async with runtime.throttles.voices.hold(key.id):
        voice = await runtime_voices.by_provider(runtime, remove, "/voice_id")
    return DeletedObject(id=voice.id, object="voice")
