"""The slate's fonts: one for its own words, and Noto's, which together draw every common script."""

from functools import lru_cache
from importlib.resources import files

from PIL import ImageFont

PLAIN = 0  # the one that Pillow carries (Aileron): little more than ASCII
_SCRIPTS = (
    *("Arabic", "Hebrew", "Devanagari", "Bengali", "Tamil", "Telugu", "Gujarati", "Gurmukhi"),
    *("Kannada", "Malayalam", "Oriya", "Sinhala", "Thai", "Lao", "Khmer", "Myanmar"),
    *("Georgian", "Armenian", "Ethiopic", "Symbols"),
)
_CJK = ("manimgx_fonts_cjk", "NotoSansCJK-VF.otf.ttc")
# In the order in which they are asked for a character.
_FILES = (
    ("manimgx_fonts", "NotoSans[wght].ttf"),
    _CJK,
    *(("manimgx_fonts", f"NotoSans{script}[wght].ttf") for script in _SCRIPTS),
    ("manimgx_fonts", "NotoEmoji[wght].ttf"),
)
EMOJI = len(_FILES)
_SIMPLIFIED_CHINESE = 2  # in the collection, whose faces differ in the forms of shared characters
_REGULAR = 400
_PROBE = 16
_NOWHERE = "\U0010ffff"  # a character that no font has


@lru_cache(maxsize=128)
def face(number: int, size: int) -> ImageFont.FreeTypeFont:
    """The font with this number."""
    if number == PLAIN:
        plain = ImageFont.load_default(size=size)
        assert isinstance(plain, ImageFont.FreeTypeFont)  # what Pillow gives when a size is named
        return plain
    package, name = _FILES[number - 1]
    index = _SIMPLIFIED_CHINESE if (package, name) == _CJK else 0
    found = ImageFont.truetype(str(files(package) / name), size, index=index)
    found.set_variation_by_axes([_REGULAR])
    return found


@lru_cache(maxsize=8192)
def has(number: int, character: str) -> bool:
    """Whether the font draws this character, and not a box in its place."""
    return _drawn(number, character) != _drawn(number, _NOWHERE)


@lru_cache(maxsize=8192)
def font_of(character: str) -> int:
    """The first Noto font that has this character, or the first of all."""
    return next((number for number in range(1, len(_FILES) + 1) if has(number, character)), 1)


def _drawn(number: int, character: str) -> bytes:
    return bytes(face(number, _PROBE).getmask(character))
