"""A job's request as code that submits it again: curl, Python and TypeScript."""

import json
import shlex

from service.domain.job import Job
from service.domain.request import JobRequest

# Fields of a body that a resolved request holds under the same name.
_COPIED = (
    *("prompt", "prompts", "negative_prompt", "text", "voice", "width", "height", "num_frames"),
    *("fps", "num_inference_steps", "guidance_scale", "loop", "strength", "fit", "seed"),
)


def of_job(job: Job, url: str) -> dict[str, str]:
    """Return the samples by language. The key is read from RUSHES_API_KEY, and never shown."""
    route = "/generate-avatar" if job.request.kind == "avatar" else "/generate-video"
    body = json.dumps(_body(job.request), indent=2, ensure_ascii=False)
    return {
        "curl": _curl(url + route, body),
        "Python": _python(url + route, job),
        "TypeScript": _typescript(url + route, body),
    }


def _body(request: JobRequest) -> dict[str, object]:
    values = request.model_dump(mode="json", exclude_none=True)
    values = {name: values[name] for name in _COPIED if values.get(name, False) is not False}
    body = {"model": request.model, **values}
    return body | {role: f"<your {role}>" for role in request.media if "/" not in role}


def _curl(url: str, body: str) -> str:
    return (
        f"curl {shlex.quote(url)} \\\n"
        '  -H "Authorization: Bearer $RUSHES_API_KEY" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d {shlex.quote(body)}"
    )


def _python(url: str, job: Job) -> str:
    values = ",\n".join(
        f"        {name!r}: {value!r}" for name, value in _body(job.request).items()
    )
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
