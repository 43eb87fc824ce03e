"""The sandbox model: draws a moving clapper slate that shows the request, and generates nothing."""

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path

import numpy as np

from service.domain.attempt import Stage
from service.domain.models.card import ModelCard
from service.domain.models.tuning import DEFAULT_LEVERS, Profile, Tuning
from service.domain.request import VideoRequest
from service.workers.adapters.base import Conditions, Frame, OnStep
from service.workers.adapters.slate_art.backdrop import backdrop
from service.workers.adapters.slate_art.board import draw_board
from service.workers.adapters.slate_art.dials import dials, progress_bar
from service.workers.adapters.slate_art.given import given
from service.workers.adapters.slate_art.layer import make_palette
from service.workers.adapters.slate_art.layout import lay_out
from service.workers.adapters.slate_art.stick import loose, striped, turned

# The clap, in seconds of a cycle: the stick falls, stays shut, and rises to stay open.
CYCLE = 4.0
FALLS, SHUT, RISES, OPEN = 0.25, 0.4, 1.2, 2.2
FLASH = 0.5  # how long the background glows after it


class Slate:
    """Needs no GPU and no weights, and honours every field of a request and every condition."""

    gpu: str | None = None

    def __init__(
        self,
        _card: ModelCard,
        _weights: Path | None = None,
        _levers: Tuning = DEFAULT_LEVERS,
    ) -> None:
        """Takes what every adapter is given; nothing here depends on it."""
        self.made_with: dict[str, str] = {}

    def load(self, profile: Profile = Profile.FULL) -> None:
        """There is nothing to load."""

    def generate(
        self, request: VideoRequest, conditions: Conditions, on_step: OnStep
    ) -> Iterator[Frame]:
        """Draw one frame at a time: no more than one is held, however long the video."""
        draw = _painter(request, conditions)
        for index in range(request.num_frames):
            frame = draw(index)
            on_step(Stage.GENERATE, index + 1, request.num_frames)
            yield frame


def _painter(request: VideoRequest, conditions: Conditions) -> Callable[[int], Frame]:
    """Draws, once, all that stands still; what it returns draws the frame at an index.

    The board lies over whatever is given; only the frames of a clip before stay as they were.
    """
    rng = _random(request)
    palette = make_palette(rng)
    sky = backdrop(rng, palette, request.width, request.height)
    layout = lay_out(request.width, request.height)
    board = draw_board(request, layout, palette.accent)
    stick = loose(striped(layout.wide, layout.stick, palette.accent, lean=1))
    # The last pose is kept: the stick is still in three frames of four.
    pose = lru_cache(maxsize=1)(partial(turned, stick, layout.left, layout.top - 1))
    of = conditions.video_frames or request.num_frames
    shows = (dials(request, layout, of), progress_bar(request, palette.accent, of))

    tail = () if conditions.tail is None else conditions.tail

    def drawn(index: int) -> Frame:
        return sky(index / request.fps, flash(index / request.fps))

    ground = given(conditions, request, drawn)

    def draw(index: int) -> Frame:
        if index < len(tail):
            before: Frame = tail[index].copy()
            return before
        seconds = index / request.fps
        frame = ground(index)
        for layer in (*board, pose(openness(seconds))):
            layer.over(frame)
        for show in shows:
            show(frame, conditions.start + index)
        return frame

    return draw


def _random(request: VideoRequest) -> np.random.Generator:
    digest = sha256(request.prompt.encode(errors="surrogatepass")).digest()
    return np.random.default_rng([request.seed, *digest])


def openness(seconds: float) -> float:
    """How far the stick is open, 0 to 1."""
    at = float(np.interp(seconds % CYCLE, (FALLS, SHUT, RISES, OPEN), (1, 0, 0, 1)))
    return at * at * (3 - 2 * at)


def flash(seconds: float) -> float:
    """How bright the background glows, 0 to 1: all at once when the stick falls shut."""
    since = seconds % CYCLE - SHUT
    return max(0.0, 1 - since / FLASH) ** 2 if since >= 0 else 0.0
