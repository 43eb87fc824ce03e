"""`make compose`: write the secrets of docker-compose.yml into .env, and say what to run."""

import os
import re
import secrets
from pathlib import Path

ENV = Path(__file__).resolve().parents[1] / ".env"
HEADING = "# Secrets of docker-compose.yml; keep them as long as its volumes.\n"
# As it was written once; not every reader of the file expands it.
_REFERENCE = "RUSHES_API_KEY=${RUSHES_BOOTSTRAP_KEY}"
RUN = """\
docker compose up --build --detach --wait

The service is then on http://127.0.0.1:{port}, its API key is RUSHES_BOOTSTRAP_KEY in .env, and
docs/self-hosting.md says more."""


def main() -> None:
    written = write_missing(ENV)
    print(f"Wrote {', '.join(written)} to .env." if written else "All secrets are in .env.")
    print(f"Now run:\n\n{RUN.format(port=port(ENV))}")


def port(env: Path) -> str:
    """Return RUSHES_PORT as docker compose reads it: of the environment, else of the file."""
    line = re.search(r"^(?:export )?RUSHES_PORT=[\"']?(\d+)", env.read_text(), re.MULTILINE)
    return os.environ.get("RUSHES_PORT") or (line[1] if line else "8787")


def write_missing(env: Path) -> list[str]:
    """Append a new value for each secret that the file does not set; return their names."""
    text = env.read_text() if env.exists() else ""
    if (key := value_of("RUSHES_BOOTSTRAP_KEY", text)) and _REFERENCE in text:
        text = text.replace(_REFERENCE, f"RUSHES_API_KEY={key}")
        env.write_text(text)
    values = new_values()
    values["RUSHES_API_KEY"] = (
        value_of("RUSHES_BOOTSTRAP_KEY", text) or values["RUSHES_BOOTSTRAP_KEY"]
    )
    missing = {name: value for name, value in values.items() if value_of(name, text) is None}
    if missing:
        start = "" if not text or text.endswith("\n") else "\n"
        env.touch()
        env.chmod(0o600)
        with env.open("a") as file:
            lines = "".join(f"{name}={value}\n" for name, value in missing.items())
            file.write(f"{start}{HEADING}{lines}")
    return list(missing)


def new_values() -> dict[str, str]:
    """Return a value for each secret, the API key in the form of service/domain/key.py."""
    return {
        "POSTGRES_PASSWORD": secrets.token_urlsafe(32),
        "RUSHES_S3_SECRET_ACCESS_KEY": secrets.token_urlsafe(32),
        "RUSHES_SECRET": secrets.token_urlsafe(32),
        "RUSHES_WORKER_TOKEN": secrets.token_urlsafe(32),
        "RUSHES_BOOTSTRAP_KEY": f"rsh_{secrets.token_hex(4)}_{secrets.token_urlsafe(32)}",
    }


def value_of(name: str, text: str) -> str | None:
    """Return the value that a file sets, without its quotes; None where it sets none."""
    line = re.search(rf"^(?:export )?{name}=(\S.*)$", text, re.MULTILINE)
    return line[1].strip().strip("\"'") if line else None


if __name__ == "__main__":
    main()
