"""The kinds of jobs: for each its route, the body of a submit and of a retry, and its request."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from service.domain.avatar import AvatarOptions, AvatarParams, AvatarRequest
from service.domain.request import JobKind, JobOptions, VideoOptions, VideoParams, VideoRequest

JobParams = VideoParams | AvatarParams  # the body of a submit
AnyRequest = Annotated[VideoRequest | AvatarRequest, Field(discriminator="kind")]  # inside a job


@dataclass(frozen=True)
class KindRule:
    """The route and the bodies by which a kind of job is submitted and retried."""

    route: str
    params: type[JobParams]
    options: type[JobOptions]  # the body of a retry


KINDS: dict[JobKind, KindRule] = {
    "video": KindRule("/generate-video", VideoParams, VideoOptions),
    "avatar": KindRule("/generate-avatar", AvatarParams, AvatarOptions),
}
