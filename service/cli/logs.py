"""How the processes log: one line an event, to standard error."""

import logging

from service.settings import Settings


def configure(settings: Settings) -> None:
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # These tell of every request at the level at which we tell of every job.
    for chatty in ("httpx", "httpcore", "alembic", "uvicorn.error"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
