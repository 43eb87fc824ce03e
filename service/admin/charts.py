"""Charts as SVG, drawn on the server and coloured by the style sheet."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

_WIDTH, _HEIGHT = 1000.0, 120.0


@dataclass(frozen=True)
class Bar:
    """One bar of a chart over time: its label, and the sizes of its parts by class, from below."""

    label: str
    parts: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.parts.values())


def bars(title: str, data: Sequence[Bar]) -> Markup:
    """Draw a bar of stacked parts for each of `data`, side by side."""
    highest = max((bar.total for bar in data), default=0) or 1
    step = _WIDTH / max(1, len(data))
    shapes = Markup().join(
        _bar(bar, number * step, step * 0.72, highest) for number, bar in enumerate(data)
    )
    return Markup(
        '<svg class="chart" viewBox="0 0 {:.0f} {:.0f}" preserveAspectRatio="none" role="img"'
        ' aria-label="{}"><line class="axis" x1="0" x2="{:.0f}" y1="119.5" y2="119.5"/>{}</svg>'
    ).format(_WIDTH, _HEIGHT, title, _WIDTH, shapes)


def _bar(bar: Bar, x: float, width: float, highest: int) -> Markup:
    rects, y = [], _HEIGHT
    for name, size in bar.parts.items():
        height = size / highest * (_HEIGHT - 4)
        y -= height
        if size:
            rects.append(_rect(name, x, y, width, height))
    # A rectangle over the full height shows the label wherever one points.
    hover = _rect("hover", x, 0, width / 0.72, _HEIGHT)
    return Markup("<g><title>{}</title>{}{}</g>").format(bar.label, hover, Markup().join(rects))


def stack(title: str, parts: Mapping[str, float], whole: float) -> Markup:
    """Draw one horizontal bar of parts; `whole` would fill it."""
    rects, x = [], 0.0
    for name, size in parts.items():
        width = size / whole * _WIDTH if whole else 0.0
        if width > 0:
            rects.append(_rect(name, x, 0, width, 20))
        x += width
    return Markup(
        '<svg class="stack" viewBox="0 0 {:.0f} 20" preserveAspectRatio="none" role="img"'
        ' aria-label="{}">{}</svg>'
    ).format(_WIDTH, title, Markup().join(rects))


def _rect(name: str, x: float, y: float, width: float, height: float) -> Markup:
    return Markup('<rect class="{}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"/>').format(
        name, x, y, width, height
    )


GLOBALS: dict[str, Callable[..., Any]] = {"bars": bars, "stack": stack}
