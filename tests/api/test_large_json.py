"""Long texts stay in the file, and what is left is the same JSON with names in their place."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.api.body.large_json import extract_long_strings
from service.domain.errors import TooLarge

LONG = "QUJD" * 20_000  # 80,000 characters


def lifted(folder: Path, body: bytes) -> tuple[Any, list[str]]:
    """The body as it is read, and the texts that were left in the file."""
    file = folder / "body"
    file.write_bytes(body)
    rest, spans = extract_long_strings(file, "name", max_rest=200_000)
    assert list(spans) == [f"name:{number}" for number in range(len(spans))]
    return json.loads(rest), ["".join(span.pieces()) for span in spans.values()]


@pytest.mark.parametrize("escape", [False, True])
def test_a_long_text_is_named_and_stays_where_it_is(tmp_path: Path, escape: bool) -> None:
    text = LONG + "//+/" * 20_000
    body = json.dumps({"prompt": 'a "red" ball\\', "image": text, "last_image": LONG, "seed": 1})

    found = lifted(tmp_path, (body.replace("/", "\\/") if escape else body).encode())

    rest, texts = found
    assert rest["prompt"] == 'a "red" ball\\'
    assert (rest["image"], rest["last_image"], rest["seed"]) == ("name:0", "name:1", 1)
    assert texts == [text, LONG]


@settings(max_examples=200, suppress_health_check=list(HealthCheck), deadline=None)
@given(
    st.dictionaries(
        st.text('a"\\/\u00e9', max_size=5),
        st.one_of(st.text('a"\\/\u00e9\n', max_size=70), st.integers(), st.none(), st.just(LONG)),
        max_size=6,
    ),
    st.integers(0, 70_000),
)
def test_whatever_is_short_stays_as_it_was(
    tmp_path: Path, values: dict[str, Any], padding: int
) -> None:
    """The padding moves the rest over the edges of the blocks that are read."""
    body = (json.dumps(values)[:-1] + "," if values else "{") + " " * padding + '"z": 1}'

    rest, texts = lifted(tmp_path, body.encode())

    names = iter(range(len(texts)))
    expected = {k: f"name:{next(names)}" if v == LONG else v for k, v in values.items()}
    assert rest == {**expected, "z": 1}
    assert set(texts) <= {LONG}


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": "' + b'\\"' * 200_000 + b'"}',
        b'{"a": ' + b"1" * 300_000 + b"}",
        b"[" + b'"",' * 100_000 + b"]",
        b'{"a": "' + b"x" * 50_000 + b'", "b": "' + b"y" * 60_000 + b'"}' + b" " * 100_000,
    ],
)
def test_what_is_long_besides_is_too_large(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(TooLarge):
        lifted(tmp_path, body)


@pytest.mark.parametrize("end", [b"", b"\\", b'\\"', b'"'])
def test_a_body_that_breaks_off_is_no_json(tmp_path: Path, end: bytes) -> None:
    with pytest.raises(json.JSONDecodeError):
        lifted(tmp_path, b'{"image": "' + LONG.encode() + end)
