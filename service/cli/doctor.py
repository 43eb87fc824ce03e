"""`rushes doctor`: is all there that the service needs, and if not, what to do."""

from service.cli.flags import Connection, spread

_MARK = {"ok": "✓", "warning": "!", "fault": "✗"}


@spread
def doctor(connection: Connection) -> None:
    """Check this machine and the service, one line each; exit 1 when something is wrong."""
    from service.cli import checks, output
    from service.cli.client import connect
    from service.cli.config import read_settings
    from service.cli.exits import Exit, Stop
    from service.cli.service_checks import check_service

    settings = read_settings()
    found = [
        checks.python(),
        checks.settings_names(),
        checks.ffmpeg(),
        checks.data_directory(settings),
        checks.database(settings),
    ]
    with connect(connection) as client:
        found += check_service(client)
    found += [checks.gpu(), checks.torch()]
    faults = sum(each.status == "fault" for each in found)
    if connection.as_json:
        body = {"object": "doctor", "ok": not faults, "checks": [vars(each) for each in found]}
        output.as_json(body)
    else:
        for each in found:
            output.line(f"{_MARK[each.status]} {each.name}: {each.detail}")
    if faults:
        raise Stop(Exit.IN_THE_WAY, f"to mend: {faults}, marked ✗ above")
