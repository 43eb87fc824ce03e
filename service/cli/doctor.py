"""`rushes doctor`: check this machine and the service, and say what to do about faults."""

from service.cli.flags import Connection, flatten_flags

_MARK = {"ok": "✓", "warning": "!", "fault": "✗"}


@flatten_flags
def doctor(connection: Connection) -> None:
    """Check this machine and the service, one line each; exit 1 if a line begins with ✗."""
    from service.cli import checks, output
    from service.cli.client import connect
    from service.cli.config import read_settings
    from service.cli.exits import CliError, Exit
    from service.cli.service_checks import check_service

    settings = read_settings()
    findings = [
        checks.python(),
        checks.settings_names(),
        checks.ffmpeg(),
        checks.data_directory(settings),
        checks.database(settings),
        *checks.models(settings),
        checks.voices(settings),
    ]
    with connect(connection) as client:
        findings += check_service(client)
    faults = sum(item.status == "fault" for item in findings)
    if connection.as_json:
        body = {
            "object": "doctor",
            "ok": not faults,
            "checks": [vars(item) for item in findings],
        }
        output.as_json(body)
    else:
        for finding in findings:
            output.print_line(f"{_MARK[finding.status]} {finding.name}: {finding.detail}")
    if faults:
        raise CliError(Exit.FAILURE, f"faults: {faults}, marked ✗ above")
