"""A bar for each thing that was measured, cut into its stages, as an SVG."""

from html import escape

_COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#9498a0")
_ROW, _BAR, _LEFT, _WIDTH = 26, 18, 220, 560


def bars(title: str, rows: dict[str, dict[str, float]]) -> str:
    """`rows` are seconds by stage; stages of one name have one colour in all rows."""
    stages = list(dict.fromkeys(stage for row in rows.values() for stage in row))
    colours = {stage: _COLOURS[n % len(_COLOURS)] for n, stage in enumerate(stages)}
    longest = max((sum(row.values()) for row in rows.values()), default=0.0) or 1.0
    height = 60 + _ROW * len(rows)
    drawn = [_text(10, 20, title), *_legend(colours)]
    for number, (name, row) in enumerate(rows.items()):
        drawn += _row(60 + _ROW * number, name, row, longest, colours)
    body = "\n".join(drawn)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 80}" height="{height}" '
        f'font-family="sans-serif" font-size="13">\n{body}\n</svg>\n'
    )


def _row(
    top: int, name: str, row: dict[str, float], longest: float, colours: dict[str, str]
) -> list[str]:
    drawn, left = [_text(10, top + 14, name)], float(_LEFT)
    for stage, seconds in row.items():
        width = seconds / longest * _WIDTH
        drawn.append(
            f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{_BAR}" '
            f'fill="{colours[stage]}"><title>{escape(stage)}: {seconds:.3f} s</title></rect>'
        )
        left += width
    return [*drawn, _text(left + 6, top + 14, f"{sum(row.values()):.2f} s")]


def _legend(colours: dict[str, str]) -> list[str]:
    drawn = []
    for number, (stage, colour) in enumerate(colours.items()):
        left = _LEFT + 110 * number
        drawn.append(f'<rect x="{left}" y="32" width="12" height="12" fill="{colour}"/>')
        drawn.append(_text(left + 17, 43, stage))
    return drawn


def _text(left: float, top: float, words: str) -> str:
    return f'<text x="{left:.1f}" y="{top}">{escape(words)}</text>'
