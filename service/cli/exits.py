"""Exit codes of the command line, and the exception that carries one."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes; `rushes --help` shows their `MEANING`."""

    OK = 0
    FAILURE = 1
    INVALID = 2  # also typer's own code for a wrong flag
    UNAUTHORIZED = 3
    NOT_FOUND = 4
    NO_VIDEO = 5
    UNREACHABLE = 6
    INTERRUPTED = 130  # 128 + SIGINT, as in shells


MEANING = {
    Exit.OK: "done",
    Exit.FAILURE: "no start, no file, no answer (429, 5xx), no video yet, or a ✗ of `doctor`",
    Exit.INVALID: "wrong usage, wrong settings, or a request that was refused",
    Exit.UNAUTHORIZED: "the key is missing, refused, or may not do this",
    Exit.NOT_FOUND: "no such job, model or key",
    Exit.NO_VIDEO: "the job failed, was canceled or expired",
    Exit.UNREACHABLE: "the service cannot be reached",
    Exit.INTERRUPTED: "interrupted by Ctrl-C",
}

EPILOG = "\n".join(
    ["Exit codes:", *(f"{code.value:>3}  {meaning}" for code, meaning in MEANING.items())]
)


# Of a child process that has said itself why it cannot start.
SAID_WHY = 78  # EX_CONFIG of sysexits.h


class CliError(Exception):
    """End the command. `lines` say what is wrong and what to do about it."""

    def __init__(self, exit_code: int, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.exit_code = exit_code


class CannotStart(CliError):
    """The settings, the port, the data directory or the API prevents the start."""

    def __init__(self, reason: str, exit_code: int = Exit.FAILURE) -> None:
        super().__init__(exit_code, f"rushes cannot start: {reason}")
