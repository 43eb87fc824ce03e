import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from service.egress.client import Egress
from tests.egress.parts import LOOPBACK, TRUSTS_NOBODY


@pytest.fixture
def egress() -> Egress:
    """May call this machine, over plain http."""
    return Egress(LOOPBACK, ssl_context=TRUSTS_NOBODY)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of hooks.example.com and 93.184.216.34, signed by itself."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl makes the certificate, and is not here")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    names = "subjectAltName=DNS:hooks.example.com,IP:93.184.216.34"
    command = (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=x"
    )
    subprocess.run(
        [openssl, *command.split(), "-addext", names, "-keyout", f"{file}.key", "-out", f"{file}"],
        check=True,
        capture_output=True,
    )
    file.write_text(file.read_text() + Path(f"{file}.key").read_text())
    return file


@pytest.fixture
def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def client_tls(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate)
