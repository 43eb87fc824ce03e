"""`make deploy`: from a Modal token to a service that answers, creating what is missing."""

import argparse
import json
import secrets
import subprocess
import sys
import time
from pathlib import Path
from shlex import quote
from typing import Any

import httpx
from pydantic import SecretStr

from service.deployment import deployed_models, deployed_weights
from service.domain.key import new_secret
from service.domain.models.catalog import CARDS
from service.settings import Settings
from service.wiring import secrets as wiring_secrets

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "modal_text_to_video.py"
MODAL = [sys.executable, "-m", "modal"]
ANSWER_SECONDS = 180


class Stopped(Exception):
    """Nothing was deployed, or what was does not answer; the message says what to do."""


def main(arguments: list[str] | None = None) -> int:
    given = parser().parse_args(arguments)
    try:
        deploy(Settings(), given)
    except Stopped as stopped:
        say(f"\n{stopped}")
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make deploy", description=__doc__)
    parser.add_argument(
        "--strategy",
        choices=["rolling", "recreate"],
        default="rolling",
        help="recreate ends the old containers at once; rolling lets them finish",
    )
    parser.add_argument("--env", default=None, help="Modal's environment, if not its default")
    parser.add_argument("--tag", default=None, help="a word for this version, such as a commit")
    parser.add_argument("--download", action="store_true", help="fill the weights Volume besides")
    return parser


def deploy(settings: Settings, given: argparse.Namespace) -> None:
    environment = given.env or settings.modal_environment or None
    check_token()
    key = ensure_secrets(settings, environment)
    run_deploy(given, environment)
    url = web_url(settings, environment)
    tell_weights(settings, given, environment)
    version = await_answer(url, " ".join([settings.modal_app, *named("--env", environment)]))
    tell(url, version, key, settings)


def check_token() -> None:
    """Raises Stopped when nobody is logged in to Modal, or Modal lets nobody in."""
    import modal

    try:
        modal.Client.from_env().hello()
    except (modal.exception.AuthError, modal.exception.PermissionDeniedError) as error:
        raise Stopped(
            "Not logged in to Modal. Make an account at https://modal.com, if you have none, then\n"
            f"{shown_modal()} token new\n"
            "make deploy\n"
            "Without an account, `make up-modal` shows all of it on this machine.\n"
            f"(Modal says: {str(error).partition('. ')[0]}.)"
        ) from error
    except (modal.exception.Error, OSError) as error:
        raise Stopped(f"Modal does not answer: {error}") from error


def ensure_secrets(settings: Settings, environment: str | None) -> str:
    """Make the Secrets that are missing; the API key, as far as it is known here."""
    name, bucket = settings.modal_app, f"{settings.modal_app}-bucket"
    if exists(name, environment):
        tell_kept(name, named_here(settings), environment)
    else:
        make_secret(name, service_secret(settings, environment), environment)
    if settings.s3_bucket:
        values = bucket_secret(settings)
        if exists(bucket, environment):
            tell_kept(bucket, values, environment)
        else:
            make_secret(bucket, values, environment)
    kept = key_file(settings, environment)
    return kept.read_text().strip() if kept.exists() else ""


def named_here(settings: Settings) -> dict[str, str]:
    """The service's Secret as far as this machine's settings name its values; "" is not named."""
    own = Settings(data_dir=settings.data_dir, database_url="").database_url
    return {
        "RUSHES_DATABASE_URL": "" if settings.database_url == own else settings.database_url,
        "RUSHES_BOOTSTRAP_KEY": revealed(settings.bootstrap_key),
        "RUSHES_WORKER_TOKEN": revealed(settings.worker_token),
        "RUSHES_SECRET": revealed(settings.secret),
    }


def service_secret(settings: Settings, environment: str | None) -> dict[str, str]:
    """What the api needs to know and nobody else may; a value that is not named is generated.

    Without the address of a Postgres the rows are in SQLite, on a Volume.
    """
    values = named_here(settings)
    url = values["RUSHES_DATABASE_URL"]
    if url and not url.startswith("postgres"):
        raise Stopped(
            "RUSHES_DATABASE_URL must name a Postgres database that Modal can reach, such as\n"
            "RUSHES_DATABASE_URL=postgresql://user:password@host/database make deploy\n"
            "or be left out, for SQLite on a Volume; docs/modal.md says when to take which."
        )
    if not values["RUSHES_BOOTSTRAP_KEY"]:
        kept = wiring_secrets.load_or_create_secret(key_file(settings, environment), new_secret())
        values["RUSHES_BOOTSTRAP_KEY"] = kept
    for name in ("RUSHES_WORKER_TOKEN", "RUSHES_SECRET"):
        values[name] = values[name] or secrets.token_urlsafe(32)
    return values


def tell_kept(name: str, values: dict[str, str], environment: str | None) -> None:
    """A Secret that is there stays as it is, and Modal does not show whether it says the same.
    What a new one leaves out is gone, so that all of it is named."""
    if any(values.values()):
        set_here = ", ".join(value for value, text in values.items() if text)
        place = " ".join(["", *named("--env", environment)])
        say(
            f"kept the Secret {name} as it is: {set_here} of here not sent.\n"
            "To change it, give all that it is to hold, leave out the rest, and deploy again:\n"
            f"{shown_modal()} secret create{place} --force {name} "
            f"{' '.join(f'{value}=…' for value in values)}"
        )


def bucket_secret(settings: Settings) -> dict[str, str]:
    """The bucket's Secret; "" is not named here."""
    names = [name for name in Settings.model_fields if name.startswith("s3_")]
    values = {f"RUSHES_{name.upper()}": getattr(settings, name) for name in names}
    return {name: revealed(value) or str(value or "") for name, value in values.items()}


def revealed(value: Any) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else ""


def key_file(settings: Settings, environment: str | None) -> Path:
    """Where the generated API key is kept: a Modal Secret cannot be read back."""
    place = "-".join(filter(None, ["modal", settings.modal_app, environment, "api-key"]))
    return settings.data_dir / place


def exists(name: str, environment: str | None) -> bool:
    import modal

    try:
        modal.Secret.from_name(name, environment_name=environment).hydrate()
    except modal.exception.NotFoundError:
        return False
    return True


def make_secret(name: str, values: dict[str, str], environment: str | None) -> None:
    import modal

    named_values = {value: text for value, text in values.items() if text}
    modal.Secret.objects.create(name, named_values, environment_name=environment)
    say(f"made the Secret {name}: {', '.join(named_values)}")


def run_deploy(given: argparse.Namespace, environment: str | None) -> None:
    """Modal's own command, whose words are shown as they come."""
    flags = ["--strategy", given.strategy, *named("--env", environment), *named("--tag", given.tag)]
    modal_command("deploy", str(SCRIPT), *flags)


def tell_weights(settings: Settings, given: argparse.Namespace, environment: str | None) -> None:
    """Fill the weights Volume, or say how, for every model that still lacks some."""
    for model in deployed_models(settings):
        if model in deployed_weights(settings) or not CARDS[model].weights:
            continue
        run = ["run", *named("--env", environment), f"{SCRIPT}::download", "--model", model]
        if given.download:
            modal_command(*run)  # what is there is not fetched again; what broke off is finished
        elif not has_weights(settings, model, environment):
            shown = f"{SCRIPT.relative_to(ROOT)}::download"
            words = " ".join([*run[:-3], shown, *run[-2:]])
            say(f"{model} has no weights yet; fetch them on a CPU: {shown_modal()} {words}")


def has_weights(settings: Settings, model: str, environment: str | None) -> bool:
    import modal

    volume = modal.Volume.from_name(f"{settings.modal_app}-weights", environment_name=environment)
    for source in CARDS[model].weights:
        folder = f"/hub/models--{source.repo.replace('/', '--')}/snapshots/{source.revision}"
        try:
            if not volume.listdir(folder):
                return False
        except (FileNotFoundError, modal.exception.NotFoundError):
            return False
    return True


def web_url(settings: Settings, environment: str | None) -> str:
    import modal

    api = modal.Function.from_name(settings.modal_app, "api", environment_name=environment)
    url = api.get_web_url()
    if not url:
        raise Stopped("the api was deployed without an address; see the lines above")
    return str(url).rstrip("/")


def await_answer(url: str, app: str) -> str:
    """The version that answers there. Raises Stopped when none does in time, and then `app` tells
    Modal's command which logs to show."""
    deadline = time.monotonic() + ANSWER_SECONDS
    said = ""
    while time.monotonic() < deadline:
        try:
            answer = httpx.get(f"{url}/health", timeout=60, follow_redirects=True)
            if answer.status_code == httpx.codes.OK:
                return str(answer.json()["version"])
            said = f"{answer.status_code}: {answer.text[:200]}"
        except (httpx.HTTPError, ValueError, KeyError) as error:
            said = repr(error)
        time.sleep(1)
    raise Stopped(
        f"{url}/health does not answer well after {ANSWER_SECONDS} s ({said}).\n"
        f"Its log: {shown_modal()} app logs {app}"
    )


def tell(url: str, version: str, key: str, settings: Settings) -> None:
    say(f"\nRushes {version} answers at {url}")
    if key:
        say(f"your API key, which is kept in {settings.data_dir}: {key}")
    body = json.dumps({"prompt": "A serene mountain landscape with flowing water"})
    say("\nA first clip:\n")
    say(
        f"URL={url}\n"
        f"KEY={key or quote('<your RUSHES_BOOTSTRAP_KEY>')}\n"
        'curl --fail-with-body -sS "$URL/generate-video" -H "Prefer: wait=60" \\\n'
        '  -H "Authorization: Bearer $KEY" \\\n'
        f"  -H \"Content-Type: application/json\" -d '{body}'"
    )
    say('\nAll its promises, one after the other:\n\nmake smoke-modal URL="$URL" ARGS="--key $KEY"')


def modal_command(*arguments: str) -> None:
    done = subprocess.run([*MODAL, *arguments], check=False)  # where we are: the same `.env`
    if done.returncode:
        raise Stopped(f"`{shown_modal()} {arguments[0]}` ended with {done.returncode}; see above")


def named(flag: str, value: str | None) -> list[str]:
    return [flag, value] if value else []


def shown_modal() -> str:
    return ".venv/bin/modal"


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
