import json
import logging
import re
from collections.abc import Iterator

import pytest

from service import log


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)


def test_an_event_is_one_line_of_words_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "text")

    with log.request_context("req_1"):
        fields = {"job": "job_1", "attempt": 2, "note": "two words\n", "gone": None}
        logging.getLogger("service.x").info("job accepted", extra=fields)

    line = capsys.readouterr().err
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z .*\n", line)
    assert line.partition("Z ")[2] == (
        'info job accepted job=job_1 attempt=2 note="two words\\n" request=req_1\n'
    )


def test_a_fault_is_told_with_its_traceback_in_the_same_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.configure("info", "json")

    try:
        raise ValueError("as planned")
    except ValueError as fault:
        logging.getLogger("service.x").error(
            "a tick failed", exc_info=fault, extra={"job": "job_1"}
        )

    (line,) = capsys.readouterr().err.splitlines()
    said = json.loads(line)
    assert (said["level"], said["event"], said["job"]) == ("error", "a tick failed", "job_1")
    assert said["fault"].startswith("Traceback")
    assert said["fault"].endswith("ValueError: as planned")


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_a_library_says_is_a_line_too(
    capsys: pytest.CaptureFixture[str], form: log.Format
) -> None:
    log.configure("info", form)

    logging.getLogger("somebody.else").warning("it\nis %s", "late")
    logging.getLogger("service.x").debug("not shown")

    (line,) = capsys.readouterr().err.splitlines()
    assert "late" in line
    assert "somebody.else" in line
