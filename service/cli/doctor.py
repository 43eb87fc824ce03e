"""`rushes doctor`: is all there that the service needs, and if not, what to do."""

from service.cli.flags import Connection, spread

_MARK = {"ok": "✓", "warning": "!", "fault": "✗"}


@spread
def doctor(connection: Connection) -> None:
    """Check this machine and the service, one line each; exit 1 when something is wrong."""
    from service.cli import checks, show
    from service.cli.client import connect
    from service.cli.reach import reach
    from service.cli.read import read_settings
    from service.cli.stop import Exit, Stop

    settings = read_settings()
    found = [
        checks.python(),
        checks.settings_names(),
        checks.ffmpeg(),
        checks.data_directory(settings),
        checks.database(settings),
    ]
    with connect(connection) as client:
        found += reach(client)
    found += [checks.gpu(), checks.torch()]
    faults = sum(each.status == "fault" for each in found)
    if connection.as_json:
        body = {"object": "doctor", "ok": not faults, "checks": [vars(each) for each in found]}
        show.as_json(body)
    else:
        for each in found:
            show.line(f"{_MARK[each.status]} {each.name}: {each.detail}")
    if faults:
        raise Stop(Exit.IN_THE_WAY, f"to mend: {faults}, marked ✗ above")
