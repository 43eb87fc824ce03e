"""How a command ends when it does not end well: exit codes, and the exception with one."""

from enum import IntEnum


class Exit(IntEnum):
    """What the shell is told; `MEANING` says each in words, which `rushes --help` shows."""

    DONE = 0
    IN_THE_WAY = 1
    REFUSED = 2  # also typer's own code for a flag that is wrong
    KEY = 3
    NOT_FOUND = 4
    NO_VIDEO = 5
    UNREACHABLE = 6
    INTERRUPTED = 130  # 128 + SIGINT, as shells have it


MEANING = {
    Exit.DONE: "done",
    Exit.IN_THE_WAY: "something is in the way (it cannot start, or the doctor found a fault)",
    Exit.REFUSED: "wrong usage, wrong settings, or a request that was refused",
    Exit.KEY: "the key is missing or refused",
    Exit.NOT_FOUND: "no such job, model or key",
    Exit.NO_VIDEO: "the job failed, was canceled or expired",
    Exit.UNREACHABLE: "the service cannot be reached",
    Exit.INTERRUPTED: "interrupted by Ctrl-C",
}

EPILOG = "\n".join(
    ["Exit codes:", *(f"{code.value:>3}  {words}" for code, words in MEANING.items())]
)


class Stop(Exception):
    """The command ends here. `lines` tell a person what is wrong and what to do about it."""

    def __init__(self, exit_code: Exit, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.exit_code = exit_code
