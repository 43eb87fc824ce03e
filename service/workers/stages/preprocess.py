"""Decode the inputs of a job to pixels at the request's size."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from service.domain.attempt import ArtifactStore, Stage, Ticket
from service.domain.ids import JobId
from service.domain.media import MediaRef, Role, keyframe_role, rule_of
from service.domain.request import VideoRequest
from service.domain.resolve.segments import Segment
from service.workers.adapters.base import (
    NO_CONDITIONS,
    Audio,
    Conditions,
    Frame,
    Frames,
    OnStep,
    audio_samples,
)
from service.workers.stages.fetch import Sources, fetch, stored_input
from service.workers.stages.inputs.images import read_image
from service.workers.stages.inputs.media import decode_sound, decode_video


def remaining_media(request: VideoRequest, segment: Segment) -> dict[Role, MediaRef]:
    """Return the inputs of `segment` and later ones. Earlier segments are finished, and the URLs
    of their inputs may no longer work."""
    skip_roles = {
        keyframe_role(number)
        for number, keyframe in enumerate(request.keyframes or ())
        if keyframe.frame < segment.start + segment.overlap
    }
    if not segment.first and not request.loop:
        skip_roles.add("image")
    return {role: ref for role, ref in request.media.items() if role not in skip_roles}


def preprocess(
    ticket: Ticket,
    media: Mapping[Role, MediaRef],
    artifacts: ArtifactStore,
    sources: Sources,
    scratch: Path,
    on_step: OnStep,
) -> Conditions:
    """Fetch and decode all inputs. Raises AttemptFailed (user) for an unreadable image or video, or
    too short a video, and as `fetch` does."""
    request = ticket.request
    assert isinstance(request, VideoRequest), "an avatar has a stage of its own"
    if not media:
        return NO_CONDITIONS
    video: Frames | None = None
    sound: NDArray[np.int16] | None = None
    images: dict[Role, Frame] = {}
    for number, (role, ref) in enumerate(media.items()):
        step = partial(on_step, Stage.PREPROCESS, number, len(media))
        step()
        into = scratch / f"input-{number}"
        if ref.url is None:
            file = stored_input(role, JobId(ticket.job_id), artifacts)
        else:
            fetch(ref.url, role, sources, into, step)
            file = into
        if rule_of(role).kind == "video":
            max_bytes = sources.max_bytes(role)
            video = decode_video(file, request, max_bytes=max_bytes)
            if request.keep_audio:
                samples = audio_samples(request.num_frames, request.fps)
                sound = decode_sound(file, samples, max_bytes=max_bytes)
        else:
            image = read_image(file, max_bytes=sources.max_bytes(role))
            images[role] = fit_image(image, request)
        into.unlink(missing_ok=True)
    on_step(Stage.PREPROCESS, len(media), len(media))
    return Conditions(
        image=images.get("image"),
        last_image=images.get("image" if request.loop else "last_image"),
        keyframes=tuple(
            (keyframe.frame, images[keyframe_role(number)])
            for number, keyframe in enumerate(request.keyframes or ())
            if keyframe_role(number) in images
        ),
        video=video,
        audio=None if sound is None else Audio(sound),
    )


def fit_image(image: Image.Image, request: VideoRequest) -> Frame:
    """Resize to the request's size undistorted: crop around the centre, or pad with black."""
    size, resampling = (request.width, request.height), Image.Resampling.LANCZOS
    fit = ImageOps.pad if request.fit == "pad" else ImageOps.fit
    return np.array(fit(image, size, resampling), dtype=np.uint8)
