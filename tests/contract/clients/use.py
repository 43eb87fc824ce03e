"""Uses a client that was generated from clients/openapi.json against a live service, as somebody
who trusts its types would. `use.py URL KEY`; `rushes_client` is written by the test."""

import sys

from rushes_client import AuthenticatedClient
from rushes_client.api.jobs import cancel_job, get_content, get_job, list_jobs, retry_job
from rushes_client.api.models import list_models
from rushes_client.api.videos import generate_video
from rushes_client.models import (
    InvalidRequestProblem,
    JobList,
    ListJobsStatusType0Item,
    ModelList,
    NotFinalProblem,
    NotFoundProblem,
    OpenJob,
    SucceededJob,
    UnauthenticatedProblem,
    VideoParams,
    VideoParamsMetadataType0,
)


def main(url: str, key: str) -> None:
    client = AuthenticatedClient(base_url=url, token=key, timeout=None)
    models = list_models.sync(client=client)
    assert isinstance(models, ModelList)
    assert models.data[0].sandbox

    video = _submit(client)
    # Checked by mypy as well: what has succeeded has a result, and nothing here may be None.
    assert video.result.video_url.startswith(url)
    assert video.finished_at >= video.created_at
    assert video.metadata.additional_properties == {"scene": "12"}

    content = get_content.sync_detailed(video.id, client=client)
    assert content.content[4:8] == b"ftyp"
    assert content.headers["ETag"] == f'"{video.result.sha256}"'

    _lists(client, video)
    _problems(client, video)
    sys.stdout.write("used\n")


def _submit(client: AuthenticatedClient) -> SucceededJob:
    metadata = VideoParamsMetadataType0.from_dict({"scene": "12"})
    ask = VideoParams(prompt="a red ball", num_frames=24, metadata=metadata)
    answer = generate_video.sync_detailed(
        client=client, body=ask, prefer="wait=50", idempotency_key="scene-12"
    )
    job = answer.parsed
    assert isinstance(job, SucceededJob), answer.content
    assert answer.headers["Location"].endswith(job.id)
    again = generate_video.sync_detailed(client=client, body=ask, idempotency_key="scene-12")
    assert again.headers["Idempotency-Replayed"] == "true"
    same = get_job.sync(job.id, client=client)
    assert isinstance(same, SucceededJob)
    return same


def _lists(client: AuthenticatedClient, video: SucceededJob) -> None:
    states = [ListJobsStatusType0Item.SUCCEEDED, ListJobsStatusType0Item.FAILED]
    jobs = list_jobs.sync(client=client, status=states, ids=[video.id, video.id])
    assert isinstance(jobs, JobList)
    assert [job.id for job in jobs.data] == [video.id]
    none = list_jobs.sync(client=client, status=[ListJobsStatusType0Item.QUEUED])
    assert isinstance(none, JobList)
    assert none.data == []


def _problems(client: AuthenticatedClient, video: SucceededJob) -> None:
    refused = generate_video.sync(client=client, body=VideoParams(prompt="x", width=65))
    assert isinstance(refused, InvalidRequestProblem)
    assert refused.errors[0].pointer == "/width"
    unknown = get_job.sync(video.id.replace("job_0", "job_1"), client=client)
    assert isinstance(unknown, NotFoundProblem)
    waiting = generate_video.sync(client=client, body=VideoParams(prompt="x", num_frames=1000))
    assert isinstance(waiting, OpenJob)
    early = retry_job.sync(waiting.id, client=client)
    assert isinstance(early, NotFinalProblem)
    cancel_job.sync(waiting.id, client=client)
    stranger = AuthenticatedClient(base_url=str(client._base_url), token="unknown")
    assert isinstance(list_jobs.sync(client=stranger), UnauthenticatedProblem)


if __name__ == "__main__":
    main(*sys.argv[1:])
