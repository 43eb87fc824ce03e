"""Topics of the notifier: names of what a commit has changed."""

from typing import NewType

from service.domain.ids import JobId, KeyId

Topic = NewType("Topic", str)

KEYS = Topic("keys")  # an API key was made, changed or revoked
SPEECH = Topic("speech")  # a text is to be spoken that was not before
DELIVERIES = Topic("deliveries")  # a webhook delivery is due that was not before
_END = "end:"


def of_job(job_id: JobId) -> Topic:
    """A job was changed."""
    return Topic(job_id)


def is_job(topic: Topic) -> bool:
    return topic.startswith("job_")


def of_end(job_id: JobId) -> Topic:
    """A job ended, by a commit of this process: others are not told."""
    return Topic(f"{_END}{job_id}")


def ended_job(topic: Topic) -> JobId | None:
    """Return the job of `of_end`; None for another topic."""
    return JobId(topic.removeprefix(_END)) if topic.startswith(_END) else None


def of_all_jobs(key_id: KeyId) -> Topic:
    """A change of state of some job of this key was recorded."""
    return Topic(key_id)


def of_queue(model: str) -> Topic:
    """A job was queued for this model."""
    return Topic(f"queue:{model}")


def is_queue(topic: Topic) -> bool:
    return topic.startswith("queue:")
