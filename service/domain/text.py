"""Types of user text that every database can store."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Annotated

from pydantic import AfterValidator, Field


def nearest(name: str, names: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the one that may be meant, if any."""
    nearest = get_close_matches(name[:64], list(names), n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def _storable(text: str) -> str:
    # Postgres text and process arguments cannot carry NUL; half a surrogate pair is no character.
    if "\x00" in text:
        raise ValueError("must not contain the NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain half of a surrogate pair") from None
    return text


Text = Annotated[str, AfterValidator(_storable)]


Label = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_storable)]


# Labels that lists can be filtered by: `metadata[label]=…`.
METADATA_LABEL = r"[A-Za-z0-9 _.:/@-]{1,64}"
METADATA_LABEL_WORDS = "1 to 64 letters, digits, spaces or _ . : / @ -"


MetadataLabel = Annotated[str, Field(pattern=f"^{METADATA_LABEL}$")]


Value = Annotated[str, Field(max_length=500), AfterValidator(_storable)]


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


Prompt = Annotated[
    str,
    Field(min_length=1, max_length=4000),
    AfterValidator(_storable),
    AfterValidator(_not_blank),
]
