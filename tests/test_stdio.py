"""What a process tells never ends it and never holds it up."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from service.stdio import NonBlockingStream

ENOUGH = 10.0  # seconds in which a thread gets a line out


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for end in (reader, writer):
        os.close(end)


def test_what_is_printed_comes_out_in_its_order(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    stream = NonBlockingStream(writer)

    for number in range(3):
        print(f"line {number} é", file=stream)
    stream.drain(ENOUGH)

    assert os.read(reader, 1000).decode() == "line 0 é\nline 1 é\nline 2 é\n"


def test_a_pipe_that_nobody_reads_holds_nobody_up_and_what_was_dropped_is_told(
    pipe: tuple[int, int],
) -> None:
    reader, writer = pipe
    stream = NonBlockingStream(writer)
    line = "x" * 9_999 + "\n"

    for _ in range(300):  # three megabytes; the test ends by its timeout where this blocks
        stream.write(line)
    received = b""
    while len(received) < 1_000_000:
        received += os.read(reader, 1 << 16)
    stream.drain(ENOUGH)
    stream.write("heard again\n")
    while not received.endswith(b"heard again\n"):
        received += os.read(reader, 1 << 16)

    assert b"bytes were dropped" in received
    assert len(received) < 1_500_000


def test_a_reader_that_is_gone_raises_nothing(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, reader)
    os.close(null)
    stream = NonBlockingStream(writer)

    stream.write("nobody hears this\n")
    stream.drain(ENOUGH)
    stream.write("nor this\n")
    stream.drain(ENOUGH)

    assert not stream._waiting


@pytest.mark.parametrize("end", ["raise SystemExit(3)", "drain(); os._exit(3)"])
def test_the_last_words_of_a_process_come_out(end: str) -> None:
    names = "drain, make_nonblocking"
    code = f"import os; from service.stdio import {names}; make_nonblocking(); print('bye'); {end}"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (3, "bye\n")
