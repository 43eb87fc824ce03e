"""What a job begins with, made safe and of the request's size: pictures and films as pixels."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from service.domain.attempt import Stage, Ticket
from service.domain.ids import JobId
from service.domain.media import MediaRef, Role, keyframe_role
from service.domain.ports import ArtifactStore
from service.domain.request import VideoRequest
from service.domain.resolve.segments import Segment
from service.workers.adapters.base import NOTHING, Conditions, Film, Frame, OnStep
from service.workers.stages.fetch import Sources, fetch, stored
from service.workers.stages.inputs.images import read_image
from service.workers.stages.inputs.media import decode_video


def needed(request: VideoRequest, begin: Segment) -> dict[Role, MediaRef]:
    """What the video is made from, without that which only the segments before `begin` follow:
    where those are finished, a URL of theirs may be gone by now."""
    passed = {
        keyframe_role(number)
        for number, one in enumerate(request.keyframes or ())
        if one.frame < begin.start + begin.overlap
    }
    if not begin.first:
        passed.add("image")
    return {role: ref for role, ref in request.media.items() if role not in passed}


def preprocess(
    ticket: Ticket,
    media: Mapping[Role, MediaRef],
    artifacts: ArtifactStore,
    sources: Sources,
    scratch: Path,
    on_step: OnStep,
) -> Conditions:
    """Raises AttemptFailed (user) for what is no picture or film, or too short a film, and as
    `fetch` does."""
    request = ticket.request
    if not media:
        return NOTHING
    film: Film | None = None
    pictures: dict[Role, Frame] = {}
    for number, (role, ref) in enumerate(media.items()):
        step = partial(on_step, Stage.PREPROCESS, number, len(media))
        step()
        into = scratch / f"input-{number}"
        if ref.url is None:
            file = stored(role, JobId(ticket.job_id), artifacts)
        else:
            fetch(ref.url, role, sources, into, step)
            file = into
        if role == "video":
            film = decode_video(file, request, max_bytes=sources.max_bytes(role))
        else:
            picture = read_image(file, max_bytes=sources.max_bytes(role))
            pictures[role] = fitted(picture, request)
        into.unlink(missing_ok=True)
    on_step(Stage.PREPROCESS, len(media), len(media))
    return Conditions(
        image=pictures.get("image"),
        last_image=pictures.get("last_image"),
        keyframes=tuple(
            (one.frame, pictures[keyframe_role(number)])
            for number, one in enumerate(request.keyframes or ())
            if keyframe_role(number) in pictures
        ),
        video=film,
    )


def fitted(picture: Image.Image, request: VideoRequest) -> Frame:
    """At exactly the request's size, never squashed: cropped around the middle, or with black
    beside it."""
    size, way = (request.width, request.height), Image.Resampling.LANCZOS
    fit = ImageOps.pad if request.fit == "pad" else ImageOps.fit
    return np.array(fit(picture, size, way), dtype=np.uint8)
