"""`make deploy`: deploy the service to Modal, creating the Secrets and Volumes that are missing."""

import argparse
import json
import os
import re
import secrets
import subprocess
import sys
import time
from pathlib import Path
from shlex import quote
from typing import Any

import httpx
from pydantic import SecretStr

from service.deployment import deployed_models, deployed_weights, served_card
from service.domain.key import new_secret
from service.environment import TRACES_KEY, setting_texts
from service.settings import Settings
from service.wiring import secrets as wiring_secrets

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "modal_text_to_video.py"
MODAL = [sys.executable, "-m", "modal"]
READY_SECONDS = 180


class DeployError(Exception):
    """The deployment failed or does not respond; the message says what to do."""


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        deploy(Settings(), options)
    except DeployError as error:
        say(f"\n{error}")
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
    parser.add_argument("--env", default=None, help="Modal environment; default: Modal's own")
    parser.add_argument("--tag", default=None, help="a name for this version, such as a commit")
    parser.add_argument("--download", action="store_true", help="also fill the weights Volume")
    return parser


def deploy(settings: Settings, options: argparse.Namespace) -> None:
    environment = options.env or settings.modal_environment or None
    check_token()
    key = ensure_secrets(settings, environment)
    run_deploy(options, environment)
    url = web_url(settings, environment)
    report_weights(settings, options, environment)
    version = wait_until_ready(url, " ".join([settings.modal_app, *flag("--env", environment)]))
    report(url, version, key, settings)


def check_token() -> None:
    """Raise DeployError unless this machine is logged in to Modal."""
    import modal

    try:
        modal.Client.from_env().hello()
    except (modal.exception.AuthError, modal.exception.PermissionDeniedError) as error:
        raise DeployError(
            "Not logged in to Modal. Create an account at https://modal.com if needed, then run\n"
            f"{modal_path()} token new\n"
            "make deploy\n"
            "Without an account, `make up-modal` runs the deployment on this machine.\n"
            f"(Modal says: {str(error).partition('. ')[0]}.)"
        ) from error
    except (modal.exception.Error, OSError) as error:
        raise DeployError(f"Modal does not respond: {error}") from error


def ensure_secrets(settings: Settings, environment: str | None) -> str:
    """Create the missing Secrets; return the API key, or "" if it is not known here."""
    name, bucket = settings.modal_app, f"{settings.modal_app}-bucket"
    if exists(name, environment):
        report_unchanged(name, local_values(settings), environment)
    else:
        make_secret(name, service_secret(settings, environment), environment)
    if settings.s3_bucket:
        values = bucket_secret(settings)
        if exists(bucket, environment):
            report_unchanged(bucket, values, environment)
        else:
            make_secret(bucket, values, environment)
    file = key_file(settings, environment)
    return file.read_text().strip() if file.exists() else ""


def local_values(settings: Settings) -> dict[str, str]:
    """Return the Secret's values that this machine's settings name; "" for the others."""
    default = Settings(data_dir=settings.data_dir, database_url="").database_url
    return {
        "RUSHES_DATABASE_URL": "" if settings.database_url == default else settings.database_url,
        "RUSHES_BOOTSTRAP_KEY": revealed(settings.bootstrap_key),
        "RUSHES_WORKER_TOKEN": revealed(settings.worker_token),
        "RUSHES_SECRET": revealed(settings.secret),
        "ELEVENLABS_API_KEY": revealed(settings.elevenlabs_api_key),
        TRACES_KEY: os.environ.get(TRACES_KEY, ""),
    }


def service_secret(settings: Settings, environment: str | None) -> dict[str, str]:
    """Return the values of the api's Secret; missing ones are generated.

    Without the URL of a Postgres the service uses SQLite, on a Volume.
    """
    values = local_values(settings)
    url = values["RUSHES_DATABASE_URL"]
    if url and not url.startswith("postgres"):
        raise DeployError(
            "RUSHES_DATABASE_URL must name a Postgres database that Modal can reach, such as\n"
            "RUSHES_DATABASE_URL=postgresql://user:password@host/database make deploy\n"
            "or be left out, for SQLite on a Volume; docs/modal.md says when to choose which."
        )
    if not values["RUSHES_BOOTSTRAP_KEY"]:
        file = key_file(settings, environment)
        values["RUSHES_BOOTSTRAP_KEY"] = wiring_secrets.load_or_create_secret(file, new_secret())
    for name in ("RUSHES_WORKER_TOKEN", "RUSHES_SECRET"):
        values[name] = values[name] or secrets.token_urlsafe(32)
    return values


def report_unchanged(name: str, values: dict[str, str], environment: str | None) -> None:
    """Say how to replace an existing Secret: Modal does not show its values, and a new one must
    contain all of them."""
    if any(values.values()):
        set_here = ", ".join(value for value, text in values.items() if text)
        place = " ".join(["", *flag("--env", environment)])
        say(
            f"the Secret {name} exists and was not changed: {set_here} not sent.\n"
            "To change it, set all its values, and deploy again:\n"
            f"{modal_path()} secret create{place} --force {name} "
            f"{' '.join(f'{value}=…' for value in values)}"
        )


def bucket_secret(settings: Settings) -> dict[str, str]:
    """Return the values of the bucket's Secret; "" where no setting names one."""
    texts = setting_texts(settings).items()
    return {f"RUSHES_{name.upper()}": text for name, text in texts if name.startswith("s3_")}


def revealed(value: Any) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else ""


def key_file(settings: Settings, environment: str | None) -> Path:
    """Return the file of the generated API key; a Modal Secret cannot be read back."""
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
    say(f"created the Secret {name}: {', '.join(named_values)}")


def run_deploy(options: argparse.Namespace, environment: str | None) -> None:
    """Run `modal deploy`; its output is shown as it comes."""
    flags = [*flag("--env", environment), *flag("--tag", options.tag)]
    modal_command("deploy", str(SCRIPT), "--strategy", options.strategy, *flags)


def report_weights(
    settings: Settings, options: argparse.Namespace, environment: str | None
) -> None:
    """Fill the weights Volume, or say how, for each model that lacks weights."""
    for model in deployed_models(settings):
        if model in deployed_weights(settings) or not served_card(settings, model).weights:
            continue
        run = ["run", *flag("--env", environment), f"{SCRIPT}::download", "--model", model]
        if options.download:
            modal_command(*run)  # skips complete files and resumes partial ones
        elif not has_weights(settings, model, environment):
            script = f"{SCRIPT.relative_to(ROOT)}::download"
            words = " ".join([*run[:-3], script, *run[-2:]])
            say(f"{model} has no weights yet; download them on a CPU: {modal_path()} {words}")


def has_weights(settings: Settings, model: str, environment: str | None) -> bool:
    import modal

    volume = modal.Volume.from_name(f"{settings.modal_app}-weights", environment_name=environment)
    for source in served_card(settings, model).weights:
        folder = f"/hub/models--{source.repo.replace('/', '--')}/snapshots"
        if re.fullmatch("[0-9a-f]{40}", source.revision):  # a branch has that of some commit
            folder += f"/{source.revision}"
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
        raise DeployError("the api was deployed without an address; see the lines above")
    return str(url).rstrip("/")


def wait_until_ready(url: str, app: str) -> str:
    """Wait for /health and return the version. Raises DeployError on a timeout; `app` names the
    app for `modal app logs`."""
    deadline = time.monotonic() + READY_SECONDS
    problem = ""
    while time.monotonic() < deadline:
        try:
            answer = httpx.get(f"{url}/health", timeout=60, follow_redirects=True)
            if answer.status_code == httpx.codes.OK:
                return str(answer.json()["version"])
            problem = f"{answer.status_code}: {answer.text[:200]}"
        except (httpx.HTTPError, ValueError, KeyError) as error:
            problem = repr(error)
        time.sleep(1)
    raise DeployError(
        f"{url}/health did not become healthy within {READY_SECONDS} s ({problem}).\n"
        f"Its log: {modal_path()} app logs {app}"
    )


def report(url: str, version: str, key: str, settings: Settings) -> None:
    say(f"\nRushes {version} is running at {url}")
    if key:
        say(f"your API key, saved in {settings.data_dir}: {key}")
    body = json.dumps({"prompt": "A serene mountain landscape with flowing water"})
    say("\nA first video:\n")
    say(
        f"URL={url}\n"
        f"KEY={key or quote('<your RUSHES_BOOTSTRAP_KEY>')}\n"
        'curl --fail-with-body -sS "$URL/generate-video" -H "Prefer: wait=55" \\\n'
        '  -H "Authorization: Bearer $KEY" \\\n'
        f"  -H \"Content-Type: application/json\" -d '{body}'"
    )
    say('\nTo test the service:\n\nmake smoke-modal URL="$URL" ARGS="--key $KEY"')


def modal_command(*arguments: str) -> None:
    process = subprocess.run([*MODAL, *arguments], check=False)  # in this folder: the same `.env`
    if process.returncode:
        raise DeployError(
            f"`{modal_path()} {arguments[0]}` ended with {process.returncode}; see above"
        )


def flag(name: str, value: str | None) -> list[str]:
    return [name, value] if value else []


def modal_path() -> str:
    return ".venv/bin/modal"


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
