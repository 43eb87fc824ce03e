"""Rows as the releases of revisions 0001 to 0009 wrote them, in plain SQL: its code is gone."""

import json

import sqlalchemy as sa

from service.store.engine import make_engine
from tests.migrations import rows_0001
from tests.migrations.rows_0001 import Written

_AVATAR = {
    "kind": "avatar",
    "model": "slate",
    "prompt": "",
    "width": 512,
    "height": 512,
    "num_frames": None,
    "fps": 25,
    "seed": 7,
    "num_inference_steps": 0,
    "text": "Hello.",
    "voice": None,
    "audio": None,
    "reference_image": None,
    "captions": None,
}
_RECORDING = {"source": "upload", "media_type": "audio/wav", "size_bytes": 9, "sha256": "0" * 64}


def write_rows(url: str) -> Written:
    """The jobs of the first release as avatars: the queued one and the running one with a text, the
    others with a recording."""
    written = rows_0001.write_rows(url)
    engine = make_engine(url)
    with engine.begin() as connection:
        for job_id, state in written.states.items():
            is_text = state in ("queued", "running")
            changes = {} if is_text else {"text": None, "audio": _RECORDING}
            connection.execute(
                sa.text("UPDATE jobs SET kind = 'avatar', request = :request WHERE id = :id"),
                {"id": job_id, "request": json.dumps(_AVATAR | changes)},
            )
    engine.dispose()
    return written
