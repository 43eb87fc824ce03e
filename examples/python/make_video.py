"""Make a video of a prompt: `python make_video.py "a paper boat on a river" boat.mp4`.

Needs httpx (`pip install httpx`), and RUSHES_URL and RUSHES_API_KEY in the environment.
"""

import hashlib
import os
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import httpx

RETRIED = {429, 502, 503, 504}  # the service is busy, restarting, or behind a proxy that says so
MAX_TRIES = 60

key = os.environ.get("RUSHES_API_KEY") or sys.exit("set RUSHES_API_KEY to a key of the service")
service = httpx.Client(
    base_url=os.environ.get("RUSHES_URL", "http://127.0.0.1:8787"),
    headers={"Authorization": f"Bearer {key}"},
    timeout=70,  # longer than a poll waits
    follow_redirects=True,  # to the bucket, if the service keeps its videos in one
)


def request(method: str, path: str, **options: Any) -> httpx.Response:
    """Send a request until it is answered, and end the program if it is refused."""
    for _ in range(MAX_TRIES):
        try:
            response = service.request(method, path, **options)
        except httpx.TransportError:
            time.sleep(1)
            continue
        if response.status_code not in RETRIED:
            break
        time.sleep(float(response.headers.get("Retry-After", 1)))
    else:
        sys.exit("the service does not answer")
    if response.is_error:
        sys.exit(response.json()["detail"])  # says what to change
    return response


def main(prompt: str, path: Path) -> None:
    # One key for all tries: a response that is lost makes no second video.
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    body = {"prompt": prompt, "duration_seconds": 2}
    job = request("POST", "/generate-video", json=body, headers=headers).json()
    print(job["id"])  # whatever happens now, the job goes on under this id

    while job["finished_at"] is None:
        job = request("GET", f"/v1/jobs/{job['id']}?wait=55").json()
    if job["status"] != "succeeded":
        sys.exit(job["error"]["message"] if job["error"] else job["status"])

    video = request("GET", f"/v1/jobs/{job['id']}/content").content
    if hashlib.sha256(video).hexdigest() != job["result"]["sha256"]:
        sys.exit("the download is damaged")
    path.write_bytes(video)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
