"""What a job begins with, made safe and of the request's size: pictures and films as pixels."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from service.domain.attempt import Stage, Ticket
from service.domain.job import JobId, input_key
from service.domain.ports import ArtifactStore
from service.domain.request import VideoRequest
from service.workers.adapters.base import NOTHING, Conditions, Film, Frame, OnStep
from service.workers.stages.fetch import Sources, fetch
from service.workers.stages.inputs.images import read_image
from service.workers.stages.inputs.media import decode_film


def preprocess(
    ticket: Ticket, artifacts: ArtifactStore, sources: Sources, scratch: Path, on_step: OnStep
) -> Conditions:
    """Raises AttemptFailed (user) for what is no picture or film, or too short a film, and as
    `fetch` does."""
    request = ticket.request
    media = request.media
    if not media:
        return NOTHING
    found: dict[str, Frame | Film] = {}
    for number, (role, ref) in enumerate(media.items()):
        on_step(Stage.PREPROCESS, number, len(media))
        into = scratch / f"input-{role}"
        file = fetch(ref, input_key(JobId(ticket.job_id), role), artifacts, sources, into)
        if role == "video":
            found[role] = decode_film(file, request, most_bytes=sources.most_bytes(role))
        else:
            picture = read_image(file, most_bytes=sources.most_bytes(role))
            found[role] = fitted(picture, request)
        into.unlink(missing_ok=True)
    on_step(Stage.PREPROCESS, len(media), len(media))
    return Conditions(**found)


def fitted(picture: Image.Image, request: VideoRequest) -> Frame:
    """At exactly the request's size, never squashed: cropped around the middle, or with black
    beside it."""
    size, way = (request.width, request.height), Image.Resampling.LANCZOS
    fit = ImageOps.pad if request.fit == "pad" else ImageOps.fit
    return np.array(fit(picture, size, way), dtype=np.uint8)
