"""The slate's fonts: Pillow's own, and Noto's, which cover every common script.

Noto's come with the extra `fonts`; without it all text is drawn in Pillow's own font.
"""

from functools import lru_cache
from importlib.resources import files
from importlib.util import find_spec

from PIL import ImageFont

PLAIN = 0  # Pillow's own (Aileron): little more than ASCII
_SCRIPTS = (
    *("Arabic", "Hebrew", "Devanagari", "Bengali", "Tamil", "Telugu", "Gujarati", "Gurmukhi"),
    *("Kannada", "Malayalam", "Oriya", "Sinhala", "Thai", "Lao", "Khmer", "Myanmar"),
    *("Georgian", "Armenian", "Ethiopic", "Symbols"),
)
_CJK = ("manimgx_fonts_cjk", "NotoSansCJK-VF.otf.ttc")
# In the order in which they are searched for a character.
_FILES = tuple(
    (package, name)
    for package, name in (
        ("manimgx_fonts", "NotoSans[wght].ttf"),
        _CJK,
        *(("manimgx_fonts", f"NotoSans{script}[wght].ttf") for script in _SCRIPTS),
        ("manimgx_fonts", "NotoEmoji[wght].ttf"),
    )
    if find_spec(package) is not None
)
FIRST = 1 if _FILES else PLAIN
EMOJI = len(_FILES)
_SIMPLIFIED_CHINESE = 2  # index in the collection, whose faces differ in shared characters
_REGULAR = 400
_PROBE = 16
_UNASSIGNED = "\U0010ffff"  # a character that no font has


@lru_cache(maxsize=128)
def face(number: int, size: int) -> ImageFont.FreeTypeFont:
    """Load the font with this number in a size in pixels."""
    if number == PLAIN:
        plain = ImageFont.load_default(size=size)
        assert isinstance(
            plain, ImageFont.FreeTypeFont
        )  # Pillow returns this type when a size is set
        return plain
    package, name = _FILES[number - 1]
    index = _SIMPLIFIED_CHINESE if (package, name) == _CJK else 0
    noto = ImageFont.truetype(str(files(package) / name), size, index=index)
    noto.set_variation_by_axes([_REGULAR])
    return noto


@lru_cache(maxsize=8192)
def has(number: int, character: str) -> bool:
    """Check that the font has this character and does not draw a box instead."""
    return _render(number, character) != _render(number, _UNASSIGNED)


@lru_cache(maxsize=8192)
def font_of(character: str) -> int:
    """Return the first Noto font that has this character, or the first of all."""
    numbers = range(1, len(_FILES) + 1)
    return next((number for number in numbers if has(number, character)), FIRST)


def _render(number: int, character: str) -> bytes:
    return bytes(face(number, _PROBE).getmask(character))
