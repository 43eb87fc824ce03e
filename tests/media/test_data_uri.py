import base64
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.errors import RequestRefused, TooLarge
from service.media.data_uri import decode_inline, decode_pieces


def decode(text: str, max_bytes: int = 1000) -> bytes:
    return decode_inline(text, max_bytes=max_bytes, pointer="/image")


def refusal(text: str) -> tuple[str, str, str]:
    with pytest.raises(RequestRefused) as caught:
        decode(text)
    (error,) = caught.value.errors
    return error.pointer, error.code, error.detail


@given(st.binary(min_size=1, max_size=100))
def test_base64_comes_back_as_it_was(content: bytes) -> None:
    text = base64.b64encode(content).decode()

    assert decode(text) == content


@pytest.mark.parametrize(
    "header",
    [
        "data:image/png;base64,",
        "DATA:IMAGE/JPG;BASE64,",
        "data:image/png;charset=utf-8;name=a.png;base64,",
        "data:audio/webm;codecs=opus;base64,",
        "data:video/webm;codecs=vp8,opus;base64,",
        "data:video/x-matroska;codecs=avc1;base64,",
        "data:audio/x-wav;base64,",
        "data:audio/aac;base64,",
        "data:application/octet-stream;base64,",
        "data:;base64,",
    ],
)
def test_the_type_of_a_data_uri_does_not_matter(header: str) -> None:
    """Browsers write it as they like, also for what they have recorded themselves."""
    assert decode(header + "AAEC") == b"\0\1\2"


@pytest.mark.parametrize("header", ["", "data:image/png;base64,"])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_the_bound_is_exact(header: str, size: int) -> None:
    text = header + base64.b64encode(b"x" * size).decode()

    assert decode(text, size) == b"x" * size
    with pytest.raises(TooLarge, match=f"/image has more than {size - 1} bytes"):
        decode(text, size - 1)


def test_what_is_too_large_is_refused_before_it_is_decoded() -> None:
    text = "A" * 20_000_000
    tracemalloc.start()

    with pytest.raises(TooLarge):
        decode(text)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("AA-_", "character 3 ('-'): use the standard alphabet"),
        ("AAA_", "with + and / instead of - and _"),
        ("AAAA\nAAAA", r"character 5 ('\n'): leave out line breaks"),
        ("AAAA\r\nAAAA", "base64 -w0"),
        (" AAAA", "use A-Z, a-z, 0-9, + and /"),
        ("AAA%3D", "without percent-encoding"),
        ("https://example.com/a.png", "give base64, a data: URI, an https URL"),
        ("AAé=", "character 3 ('é')"),
        ("AA\ud800=", r"character 3 ('\ud800')"),
        ("A", "groups of four"),
        ("AAA", "groups of four"),
        ("AA=A", "groups of four"),
        ("AAA=AAAA", "`=` only at the end"),
        ("AAAA=", "groups of four"),
        ("====", "groups of four"),
        ("", "is empty"),
        ("data:image/png;base64,", "is empty"),
        ("data:image/png;base64,AA==\n", "leave out line breaks"),
    ],
)
def test_only_standard_base64_is_taken(text: str, words: str) -> None:
    pointer, code, detail = refusal(text)

    assert (pointer, code) == ("/image", "invalid_base64")
    assert words in detail


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data:image/png,%89PNG", "percent-encoding is not supported"),
        ("data:image/png;charset=utf-8,AAAA", "must be base64: data:image/png;base64,"),
        ("data:image/png;base64;x=1,AAAA", "must be base64"),
        ("data:,AAAA", "must be base64"),
        ("data:image/png;base64", "no comma"),
        ("data:image/png;" + "x" * 1000 + ";base64,AAAA", "no comma"),
    ],
)
def test_a_data_uri_without_base64_is_refused(text: str, words: str) -> None:
    pointer, code, detail = refusal(text)

    assert (pointer, code) == ("/image", "invalid_data_uri")
    assert words in detail


@given(st.text(max_size=60) | st.text("data:imge/pn;bs64,AB=+-% \n", max_size=60))
def test_no_text_raises_anything_else(text: str) -> None:
    with suppress(RequestRefused, TooLarge):
        assert 1 <= len(decode(text, 40)) <= 40


@given(st.binary(min_size=1, max_size=200), st.integers(1, 50), st.booleans())
def test_a_text_in_pieces_holds_the_same(content: bytes, size: int, uri: bool) -> None:
    header = "data:image/png;base64," if uri else ""
    text = base64.b64encode(content).decode()
    pieces = [header + text[:size], *(text[i : i + size] for i in range(size, len(text), size))]

    found = b"".join(decode_pieces(pieces, max_bytes=200, pointer="/image"))

    assert found == content
    with pytest.raises(TooLarge):
        list(decode_pieces(pieces, max_bytes=len(content) - 1, pointer="/image"))


@pytest.mark.parametrize(
    ("pieces", "word"),
    [
        (["QUJD", "QU"], "truncated"),
        (["QUI=", "QUJD"], "truncated or badly padded"),
        (["QUJD", "Q=JD"], "truncated or badly padded"),
        (["QUJD", "QU-D"], r"character 7 \('-'\)"),
        (["data:image/png;base64,"], "truncated"),
        (["data:image/png;base64,QUJD", "QU D"], "character 29"),
        (["QUJ=="], "badly padded"),
    ],
)
def test_what_is_wrong_in_pieces_is_told_by_its_place(pieces: list[str], word: str) -> None:
    with pytest.raises(RequestRefused, match=word):
        list(decode_pieces(pieces, max_bytes=200, pointer="/image"))
