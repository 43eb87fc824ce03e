"""The sandbox model: draws an animated clapper slate that shows the request; no GPU is needed."""

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path

import numpy as np

from service.domain.attempt import Profile, Stage
from service.domain.models.card import ModelCard
from service.domain.models.tuning import DEFAULT_TUNING, Tuning
from service.domain.request import VideoRequest
from service.workers.adapters.base import Clip, Conditions, Frame, OnStep
from service.workers.adapters.slate_art.backdrop import backdrop
from service.workers.adapters.slate_art.board import draw_board
from service.workers.adapters.slate_art.dials import dials, progress_bar
from service.workers.adapters.slate_art.ground import make_ground
from service.workers.adapters.slate_art.layer import make_palette
from service.workers.adapters.slate_art.layout import lay_out
from service.workers.adapters.slate_art.stick import cut_out_stick, draw_stick, rotate_stick

# The clap, in seconds of a cycle: the stick falls, stays shut, rises and stays open.
CYCLE = 4.0
FALLS, SHUT, RISES, OPEN = 0.25, 0.4, 1.2, 2.2
FLASH = 0.5  # how long the background glows after it


class Slate:
    """An Adapter without GPU or weights that shows every field and condition of a request."""

    gpu: str | None = None

    def __init__(
        self,
        _card: ModelCard,
        _weights: Path | None = None,
        _tuning: Tuning = DEFAULT_TUNING,
    ) -> None:
        """Accept the arguments of every adapter and ignore them."""
        self.made_with: dict[str, str] = {}

    def load(self, profile: Profile = Profile.FULL) -> None:
        """Do nothing: the slate has no weights."""

    def generate(self, request: VideoRequest, conditions: Conditions, on_step: OnStep) -> Clip:
        return Clip(_draw_frames(request, conditions, on_step), conditions.audio)


def _draw_frames(request: VideoRequest, conditions: Conditions, on_step: OnStep) -> Iterator[Frame]:
    """Draw one frame at a time, so that memory does not grow with the length."""
    draw = _painter(request, conditions)
    for index in range(request.num_frames):
        frame = draw(index)
        on_step(Stage.GENERATE, index + 1, request.num_frames)
        yield frame


def _painter(request: VideoRequest, conditions: Conditions) -> Callable[[int], Frame]:
    """Draw the static layers once, and return a function that draws the frame at an index.

    The board covers every input but the tail of the clip before, whose frames are copied.
    """
    rng = _random(request)
    palette = make_palette(rng)
    sky = backdrop(rng, palette, request.width, request.height)
    layout = lay_out(request.width, request.height)
    board = draw_board(request, layout, palette.accent)
    stick = cut_out_stick(draw_stick(layout.wide, layout.stick, palette.accent, lean=1))
    # The last pose is cached: the stick rests in three frames of four.
    pose = lru_cache(maxsize=1)(partial(rotate_stick, stick, layout.left, layout.top - 1))
    total = conditions.video_frames or request.num_frames
    overlays = (dials(request, layout, total), progress_bar(request, palette.accent, total))

    tail = () if conditions.tail is None else conditions.tail

    def text_ground(index: int) -> Frame:
        return sky(index / request.fps, flash(index / request.fps))

    ground = make_ground(conditions, request, text_ground)

    def draw(index: int) -> Frame:
        if index < len(tail):
            tail_frame: Frame = tail[index].copy()
            return tail_frame
        shown, seconds = conditions.start + index, index / request.fps
        if request.loop:  # the last frame is the first one again
            shown %= max(1, total - 1)
            seconds = loop_seconds(shown, total, request.fps)
        frame = ground(index)
        for layer in (*board, pose(openness(seconds))):
            layer.draw_on(frame)
        for draw_overlay in overlays:
            draw_overlay(frame, shown)
        return frame

    return draw


def _random(request: VideoRequest) -> np.random.Generator:
    digest = sha256(request.prompt.encode(errors="surrogatepass")).digest()
    return np.random.default_rng([request.seed, *digest])


def loop_seconds(frame: int, total: int, fps: int) -> float:
    """Return the time of a frame of a loop, in which the stick falls a whole number of times."""
    cycles = max(1, round(total / fps / CYCLE))
    return cycles * CYCLE * frame / max(1, total - 1)


def openness(seconds: float) -> float:
    """Return how far the stick is open, 0 to 1."""
    at = float(np.interp(seconds % CYCLE, (FALLS, SHUT, RISES, OPEN), (1, 0, 0, 1)))
    return at * at * (3 - 2 * at)


def flash(seconds: float) -> float:
    """Return the brightness of the background's flash, 0 to 1, which starts as the stick shuts."""
    since = seconds % CYCLE - SHUT
    return max(0.0, 1 - since / FLASH) ** 2 if since >= 0 else 0.0
