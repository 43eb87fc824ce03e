"""A job's request as code that submits it again: curl, Python and TypeScript."""

import json
import shlex

from service.domain.job import Job
from service.domain.kinds import KINDS
from service.domain.resubmit import params_again


def of_job(job: Job, url: str) -> dict[str, str]:
    """Return the samples by language. The key is read from RUSHES_API_KEY, and never shown."""
    route = KINDS[job.request.kind].route
    body = json.dumps(_body(job), indent=2, ensure_ascii=False)
    return {
        "curl": _curl(url + route, body),
        "Python": _python(url + route, job),
        "TypeScript": _typescript(url + route, body),
    }


def _body(job: Job) -> dict[str, object]:
    """Return the body; what a URL may tell a stranger is replaced, and so are stored inputs."""
    params = params_again(job, KINDS[job.request.kind].options())
    params = params.with_media_texts({role: f"<your {role}>" for role in params.media_texts})
    body = params.model_dump(mode="json", exclude_none=True)
    if params.webhook_url is not None:
        body["webhook_url"] = "<your webhook_url>"
    return {name: value for name, value in body.items() if value != {}}


def _curl(url: str, body: str) -> str:
    return (
        f"curl {shlex.quote(url)} \\\n"
        '  -H "Authorization: Bearer $RUSHES_API_KEY" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d {shlex.quote(body)}"
    )


def _python(url: str, job: Job) -> str:
    values = ",\n".join(f"        {name!r}: {value!r}" for name, value in _body(job).items())
    return (
        "import os\n\nimport httpx\n\n"
        "response = httpx.post(\n"
        f"    {url!r},\n"
        '    headers={"Authorization": f"Bearer {os.environ[\'RUSHES_API_KEY\']}"},\n'
        f"    json={{\n{values},\n    }},\n"
        ")\n"
        'print(response.raise_for_status().json()["id"])'
    )


def _typescript(url: str, body: str) -> str:
    return (
        f"const response = await fetch({json.dumps(url)}, {{\n"
        '  method: "POST",\n'
        "  headers: {\n"
        "    Authorization: `Bearer ${process.env.RUSHES_API_KEY}`,\n"
        '    "Content-Type": "application/json",\n'
        "  },\n"
        f"  body: JSON.stringify({body}),\n"
        "});\n"
        "if (!response.ok) throw new Error(await response.text());\n"
        "console.log((await response.json()).id);"
    )
