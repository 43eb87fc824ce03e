"""Avatars that stay: a checked photo with a name, a voice and a statement of consent."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from service.api.body.parse import NewAvatarDep, body_of
from service.api.deps import ContextDep
from service.api.schemas.avatars import AvatarList, AvatarOut
from service.api.schemas.jobs import DeletedObject
from service.api.schemas.responses import header_docs, problem_docs
from service.api.submit import CreationKey, idempotency_of
from service.domain import ids
from service.domain.errors import FieldError, RequestRefused
from service.domain.likeness import AVATAR_PREFIX, AvatarId, NewAvatar, SavedAvatar
from service.lifecycle.likenesses import remove_avatar
from service.runtime.avatars import create_avatar, find_avatar
from service.store import likenesses
from service.store.audit import Deletion

router = APIRouter(prefix="/v1/avatars", tags=["avatars"])


class PageQuery(BaseModel):
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


@router.post(
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


@router.get("", responses=problem_docs(401, 422, 429))
async def list_avatars(query: Annotated[PageQuery, Query()], context: ContextDep) -> AvatarList:
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


@router.get("/{avatar_id}", responses=problem_docs(401, 404, 429))
async def get_avatar(avatar_id: str, context: ContextDep) -> AvatarOut:
    """One avatar; for an admin key also that of another key."""
    key = context.key
    owner = None if key.admin else key.id
    return AvatarOut.from_domain(await find_avatar(context.runtime, avatar_id, owner))


@router.delete("/{avatar_id}", responses=problem_docs(401, 404, 429, 503))
async def delete_avatar(avatar_id: str, context: ContextDep) -> DeletedObject:
    """Delete an avatar and its photo at once. Jobs that were accepted with it keep their copy. An
    admin key may delete that of any key."""
    runtime, key = context.runtime, context.key
    owner = None if key.admin else key.id
    deletion = Deletion(key.id, runtime.clock()) if key.admin else None
    avatar = await find_avatar(runtime, avatar_id, owner)
    await run_in_threadpool(
        remove_avatar, runtime.db, runtime.artifacts, avatar.id, owner, deletion
    )
    return DeletedObject(id=avatar.id, object="avatar")
