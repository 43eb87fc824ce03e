"""Draw stacked bars of seconds by stage as an SVG."""

from html import escape

_COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#9498a0")
_ROW, _BAR, _LABEL, _WIDTH = 26, 18, 220, 560


def bars(title: str, rows: dict[str, dict[str, float]]) -> str:
    """Draw a bar for each row of seconds by stage; each stage has one colour in all rows."""
    stages = list(dict.fromkeys(stage for row in rows.values() for stage in row))
    colours = {stage: _COLOURS[n % len(_COLOURS)] for n, stage in enumerate(stages)}
    max_seconds = max((sum(row.values()) for row in rows.values()), default=0.0) or 1.0
    height = 60 + _ROW * len(rows)
    elements = [_text(10, 20, title), *_legend(colours)]
    for number, (name, row) in enumerate(rows.items()):
        elements += _row(60 + _ROW * number, name, row, max_seconds, colours)
    body = "\n".join(elements)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LABEL + _WIDTH + 80}" height="{height}" '
        f'font-family="sans-serif" font-size="13">\n{body}\n</svg>\n'
    )


def _row(
    top: int, name: str, row: dict[str, float], max_seconds: float, colours: dict[str, str]
) -> list[str]:
    elements, x = [_text(10, top + 14, name)], float(_LABEL)
    for stage, seconds in row.items():
        width = seconds / max_seconds * _WIDTH
        elements.append(
            f'<rect x="{x:.1f}" y="{top}" width="{width:.1f}" height="{_BAR}" '
            f'fill="{colours[stage]}"><title>{escape(stage)}: {seconds:.3f} s</title></rect>'
        )
        x += width
    return [*elements, _text(x + 6, top + 14, f"{sum(row.values()):.2f} s")]


def _legend(colours: dict[str, str]) -> list[str]:
    elements = []
    for number, (stage, colour) in enumerate(colours.items()):
        x = _LABEL + 110 * number
        elements.append(f'<rect x="{x}" y="32" width="12" height="12" fill="{colour}"/>')
        elements.append(_text(x + 17, 43, stage))
    return elements


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y}">{escape(text)}</text>'
