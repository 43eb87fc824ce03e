"""The slate's board, which is drawn once per clip."""

from PIL import Image, ImageDraw, ImageFilter

from service.domain.request import VideoRequest
from service.workers.adapters.slate_art.layer import (
    FACE,
    INK,
    MUTED,
    RULE,
    WELL,
    Colour,
    Layer,
    layers,
)
from service.workers.adapters.slate_art.layout import Layout
from service.workers.adapters.slate_art.runs import is_rtl
from service.workers.adapters.slate_art.stick import SUPERSAMPLING, draw_stick
from service.workers.adapters.slate_art.text import (
    CAPITAL,
    LEADING,
    elide,
    fitting_size,
    font,
    label,
    label_length,
    legible,
    length,
    paragraph,
    write,
)

SANDBOX = "SANDBOX"
NOTICES = ("no video was generated", "no video")  # the first that fits


def draw_board(request: VideoRequest, layout: Layout, accent: Colour) -> list[Layer]:
    """Draw the board with its lower stick and its shadow."""
    face = Image.new("RGB", (layout.wide, layout.tall), FACE)
    draw = ImageDraw.Draw(face)
    edge = (0, 0, face.width - 1, face.height - 1)
    face.paste(draw_stick(layout.wide, layout.stick, accent, lean=-1).reduce(SUPERSAMPLING), (0, 0))
    draw.rounded_rectangle(edge, layout.radius, outline=RULE)
    _scene(draw, request, layout)
    draw.rectangle((0, layout.dials, layout.wide, layout.banner), WELL)
    if layout.roomy:
        _fields(draw, request, layout)
        _dial_labels(draw, layout)
    _banner(draw, layout, accent)
    image = _cut_out(face, layout)
    top, x = layout.top - layout.shade, layout.left - layout.shade
    return layers(image, top, x, opaque=layout.shade + layout.radius)


def _scene(draw: ImageDraw.ImageDraw, request: VideoRequest, layout: Layout) -> None:
    em, pad, width = layout.em, layout.pad, layout.wide - 2 * layout.pad
    top, foot = layout.stick + pad // 2, layout.fields - pad // 2
    if layout.roomy:
        label(draw, (pad, top + em * 1.5), "SCENE", round(em * 0.8), MUTED)
        top, foot = top + round(em * 2.1), foot - round(em * 0.3)
    note = _note(request, layout)
    if note and foot - top >= 4 * em:
        write(draw, (pad, foot - em * 0.3), note, em, MUTED)
        foot -= round(em * 1.6)
    size, lines = _fit_prompt(legible(request.prompt), width, foot - top, em)
    for number, line in enumerate(lines):
        x = pad + (width - length(line, size)) * is_rtl(line)
        write(draw, (x, top + number * round(size * LEADING) + size * 0.85), line, size, INK)


def _note(request: VideoRequest, layout: Layout) -> str:
    """Return the line below the prompt: the negative prompt, or fields without room elsewhere."""
    width = layout.wide - 2 * layout.pad
    if layout.roomy:
        avoid = legible(request.negative_prompt or "")
        return elide(f"without {avoid}", layout.em, width) if avoid else ""
    size = f"seed {request.seed} · {request.width} x {request.height} @ {request.fps}"
    steering = f" · {request.num_inference_steps} steps · guidance {request.guidance_scale:g}"
    notes = (size + steering, size)
    return next((note for note in notes if length(note, layout.em) <= width), "")


def _fit_prompt(text: str, width: int, height: int, em: int) -> tuple[int, list[str]]:
    """Return the largest size at which `text` fits, and its lines; at the smallest it is elided."""
    min_size = max(10, round(em * 1.15))
    size, lines = min_size, [""]
    for size in range(max(min_size, round(em * 3.2)), min_size - 1, -max(1, em // 10)):
        lines, is_whole = paragraph(text, size, width, int(height / (size * LEADING)))
        if is_whole:
            break
    return size, lines


def _fields(draw: ImageDraw.ImageDraw, request: VideoRequest, layout: Layout) -> None:
    em, pad, top, foot = layout.em, layout.pad, layout.fields, layout.dials
    cells = (
        ("TAKE / SEED", f"{request.seed}", 2.2),
        ("SIZE", f"{request.width} x {request.height}", 2.1),
        ("RATE", f"{request.fps} fps", 1.45),
        ("STEPS", f"{request.num_inference_steps}", 1.35),
        ("GUIDANCE", f"{request.guidance_scale:g}", 1.8),
    )
    unit = layout.wide / sum(share for _, _, share in cells)
    size = min(
        fitting_size([value], round(share * unit - 1.7 * pad), round(em * 1.45))
        for _, value, share in cells
    )
    x = 0.0
    for name, value, share in cells:
        label(draw, (x + pad, top + em * 1.45), name, round(em * 0.75), MUTED)
        draw.text((x + pad, foot - em * 0.9), value, INK, font(size), anchor="ls")
        x += share * unit
        draw.line((x, top, x, foot), RULE)
    draw.line((0, top, layout.wide, top), RULE)


def _dial_labels(draw: ImageDraw.ImageDraw, layout: Layout) -> None:
    size, foot = round(layout.em * 0.75), layout.dials + layout.em * 1.35
    right = layout.wide - layout.pad - label_length("FRAME", size)
    label(draw, (layout.pad, foot), "TIMECODE", size, MUTED)
    label(draw, (right, foot), "FRAME", size, MUTED)


def _banner(draw: ImageDraw.ImageDraw, layout: Layout, accent: Colour) -> None:
    """Draw `SANDBOX — no video was generated`; the font has no dash, so a line stands for it."""
    em, width = layout.em, layout.wide - 2 * layout.pad
    draw.rectangle((0, layout.banner, layout.wide, layout.tall), accent)
    mark, dash = label_length(SANDBOX, em), 2.4 * em
    notice = next((n for n in NOTICES if mark + dash + length(n, em) <= width), "")
    whole = mark + dash + length(notice, em) if notice else mark
    x, y = (layout.wide - whole) / 2, (layout.banner + layout.tall + em * CAPITAL) / 2
    label(draw, (x, y), SANDBOX, em, FACE, bold=True)
    if notice:
        line, middle = x + mark + 0.6 * em, round(y - em * 0.3)
        draw.line((line, middle, line + 1.2 * em, middle), FACE, max(1, em // 10))
        draw.text((x + mark + dash, y), notice, FACE, font(em), anchor="ls")


def _cut_out(face: Image.Image, layout: Layout) -> Image.Image:
    """Return the face with rounded corners over its shadow (RGBa)."""
    shade = layout.shade
    mask = Image.new("L", (face.width * SUPERSAMPLING, face.height * SUPERSAMPLING))
    box = (0, 0, mask.width - 1, mask.height - 1)
    ImageDraw.Draw(mask).rounded_rectangle(box, layout.radius * SUPERSAMPLING, fill=255)
    mask = mask.reduce(SUPERSAMPLING)
    shadow = Image.new("L", (face.width + 2 * shade, face.height + 2 * shade))
    shadow.paste(mask.point(lambda value: value * 0.6), (shade, shade + shade // 4))
    image = Image.new("RGBA", shadow.size)
    image.putalpha(shadow.filter(ImageFilter.GaussianBlur(shade / 2.6)))
    image.paste(face, (shade, shade), mask)
    return image.convert("RGBa")
