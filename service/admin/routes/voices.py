"""The voices that the service speaks with, and the avatars that are kept, of all keys."""

from functools import partial
from pathlib import Path
from typing import Annotated

from anyio import to_thread
from fastapi import Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response

from service.admin.pages import FILE_HEADERS
from service.admin.visit import ActorDep, AdminVisitDep, Visit, VisitDep, page_router
from service.domain.errors import NotFound
from service.domain.likeness import SavedAvatar, avatar_id_of
from service.lifecycle.likenesses import find_avatar, remove_avatar
from service.runtime.voices import by_provider, sample_of
from service.store import likenesses

router = page_router("/voices")

_PAGE = 24
_IN_A_FORM = 100  # avatars to choose from


@router.get("")
async def show_voices(
    visit: VisitDep, after: Annotated[str, Query(max_length=40)] = ""
) -> Response:
    start = avatar_id_of(after) if after else None
    rows = await visit.read(
        lambda tx: likenesses.page(tx, SavedAvatar, None, size=_PAGE + 1, after=start)
    )
    listing = partial(visit.runtime.voices.listing, None, is_admin=True)
    threads = visit.runtime.voice_threads
    entries, problems = await to_thread.run_sync(listing, limiter=threads)
    return await visit.page(
        "voices.html",
        avatars=rows[:_PAGE],
        next=rows[_PAGE - 1].id if len(rows) > _PAGE else None,
        clones=[entry for entry in entries if entry.clone is not None],
        voices=[entry.info for entry in entries if entry.clone is None],
        problems=problems,
        key_names=await visit.key_names(),
    )


async def own_avatars(visit: Visit) -> list[SavedAvatar]:
    """Return the newest avatars of the visitor's key."""
    return await visit.read(
        lambda tx: likenesses.page(tx, SavedAvatar, visit.key.id, size=_IN_A_FORM)
    )


@router.get("/avatars/{avatar_id}/photo")
async def show_photo(avatar_id: str, visit: VisitDep) -> Response:
    avatar = await _find(visit, avatar_id)
    path = await run_in_threadpool(visit.runtime.artifacts.path, avatar.image_key)
    if path is None:
        raise NotFound(f"the photo of {avatar.id} is deleted")
    return _file(path, avatar.image.media_type)


@router.get("/{voice_id}/sample")
async def play_sample(voice_id: str, visit: AdminVisitDep) -> Response:
    """A sentence by this voice. The first of all is spoken now, and paid for by who listens."""
    return _file(await sample_of(visit.runtime, visit.key, voice_id), "audio/wav")


@router.post("/avatars/{avatar_id}/delete")
async def delete_avatar(avatar_id: str, visit: ActorDep) -> Response:
    runtime, avatar = visit.runtime, await _find(visit, avatar_id)
    await runtime.run(remove_avatar, runtime.db, runtime.artifacts, avatar.id, None, visit.actor)
    return visit.redirect("/voices")


@router.post("/{voice_id}/delete")
async def delete_voice(voice_id: str, visit: ActorDep) -> Response:
    """Delete a clone, here and at its provider."""
    runtime = visit.runtime
    key_id = visit.key.id
    remove = partial(runtime.voices.remove, runtime.artifacts, voice_id, key_id, visit.actor)
    await by_provider(runtime, remove, "/voice_id")
    return visit.redirect("/voices#voices")


async def _find(visit: Visit, avatar_id: str) -> SavedAvatar:
    id_ = avatar_id_of(avatar_id)
    return await visit.read(lambda tx: find_avatar(tx, id_, None))


def _file(path: Path, media_type: str | None) -> Response:
    return FileResponse(path, media_type=media_type, headers=FILE_HEADERS)
