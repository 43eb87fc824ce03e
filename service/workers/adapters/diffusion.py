"""What all models on diffusers have in common: load once, check, watch each step, decode, refuse.

Torch and diffusers are imported inside, so that naming an adapter costs nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from service.domain.attempt import AttemptFailed
from service.domain.models.card import ModelCard
from service.domain.models.tuning import DEFAULT_LEVERS, Profile, Tuning
from service.domain.request import VideoRequest
from service.log import Log
from service.workers.adapters.base import Conditions, Frame, OnStep
from service.workers.adapters.checks import check_conditions, check_frames, check_tokens
from service.workers.adapters.pictures import frames_of
from service.workers.adapters.steps import Steps
from service.workers.device import (
    best_dtype,
    find_device,
    gpu_name,
    out_of_memory,
    release_memory,
    wait_for,
)
from service.workers.device import place as place_pipe
from service.workers.tuning.apply import AppliedTuning
from service.workers.tuning.embeddings import Embeddings
from service.workers.weights import find_weights

if TYPE_CHECKING:
    import torch

log = Log(__name__)


class DiffusionAdapter(ABC):
    """An Adapter over one diffusers pipeline, `pipe`, which is there after `load`.

    A family says how its pipeline is put together, how many steps a request takes, what makes
    the latents, and how they are decoded. The steps are seen on the scheduler, since not every
    pipeline has a callback; an exception of `on_step` leaves the pipeline from there at once.
    """

    # Prompts are padded to these and never cut.
    max_tokens: ClassVar[int]

    def __init__(
        self, card: ModelCard, weights: Path | None, levers: Tuning = DEFAULT_LEVERS
    ) -> None:
        self.card = card
        self.pipe: Any = None
        self._made: Any = None  # the same, from when it is put together, wherever its parts are
        self._weights = weights
        self._gpu: str | None = None
        self._levers = levers
        self._profile = Profile.FULL
        self._placed = ""
        self._embeddings = Embeddings(levers.embeddings_bytes)

    @abstractmethod
    def assemble(self, parts: list[Path], dtype: "torch.dtype") -> Any:
        """The pipeline, still on the CPU, from one folder for each of the card's weights.

        A single folder that somebody chose stands for all of them.
        """

    @abstractmethod
    def denoise(
        self, request: VideoRequest, conditions: Conditions, generator: "torch.Generator"
    ) -> "torch.Tensor":
        """The latents of the clip, (1, channels, frames, height, width)."""

    @abstractmethod
    def decode(self, latents: "torch.Tensor", generator: "torch.Generator") -> "torch.Tensor":
        """The clip, (1, 3, frames, height, width) from -1 to 1.

        What the pipeline itself does after its last step, less its three copies of the clip; a
        test keeps the two equal.
        """

    def steps(self, request: VideoRequest, conditions: Conditions) -> int:
        """How many steps `denoise` takes."""
        return request.num_inference_steps

    def tokens(self, prompt: str) -> int:
        """How many of `max_tokens` a prompt takes."""
        return len(self.pipe.tokenizer(prompt).input_ids)

    def equip(self, pipe: Any) -> None:
        """What holds for every pipeline over the model's parts, however many there are."""
        pipe.set_progress_bar_config(disable=True)
        self._embeddings.remember(pipe)

    def place(self, pipe: Any, device: "torch.device") -> None:
        self._placed = place_pipe(pipe, device, self.card, self._profile)

    @property
    def gpu(self) -> str | None:
        return self._gpu

    @property
    def made_with(self) -> dict[str, str]:
        return {} if self.pipe is None else self._pulled.told() | {"memory": self._placed}

    def load(self, profile: Profile = Profile.FULL) -> None:
        if self.pipe is not None and profile is self._profile:
            return
        device = find_device()
        if self._made is None:
            self._made = self._assembled(device)
        self.pipe, self._profile = None, profile
        self._pulled.tiles.always(tiled=profile is Profile.SMALL)
        try:
            with out_of_memory(f"{self.card.title} does not fit into the memory of this device"):
                self.place(self._made, device)
        except AttemptFailed:
            # As much of it as was there makes room; in its other profile it need not be read again.
            self._made.remove_all_hooks()
            self._made.to("cpu")
            release_memory()
            raise
        self.pipe, self._gpu, self._device = self._made, gpu_name(device), device
        log.info("model is loaded", model=self.card.name, gpu=self._gpu, **self.made_with)

    def unload(self) -> None:
        """Let go of the model. `load` reads it again."""
        if self._made is not None:
            self.pipe = self._made = None
            del self._pulled
        release_memory()

    def _assembled(self, device: "torch.device") -> Any:
        """The pipeline, still on the CPU, as the levers have it."""
        _quiet()
        pipe = self.assemble(find_weights(self.card, self._weights), best_dtype(device))
        self.equip(pipe)
        self._pulled = AppliedTuning(pipe, self._levers, device, self._embeddings)
        return pipe

    def generate(
        self, request: VideoRequest, conditions: Conditions, on_step: OnStep
    ) -> Iterator[Frame]:
        self.check(request, conditions)
        with out_of_memory(
            f"{request.num_frames} frames of {request.width}x{request.height} do not fit into the "
            "memory of this device; ask for fewer frames or a smaller size"
        ):
            video = self._render(request, conditions, on_step)
        yield from frames_of(video, request)

    def check(self, request: VideoRequest, conditions: Conditions) -> None:
        """Refuse what the pipeline would take and silently change."""
        for what, text in (
            ("prompt", request.prompt),
            ("negative prompt", request.negative_prompt),
        ):
            if text:
                check_tokens(self.card, what, self.tokens(text), self.max_tokens)
        check_frames(self.card, request)
        check_conditions(self.card, request, conditions)

    def _render(
        self, request: VideoRequest, conditions: Conditions, on_step: OnStep
    ) -> "torch.Tensor":
        import torch

        # On the CPU: the same noise whatever the device.
        generator = torch.Generator("cpu").manual_seed(request.seed)
        steps = Steps(self.steps(request, conditions), on_step, self._device)
        try:
            with torch.inference_mode():
                with steps.of(self.pipe.scheduler):
                    latents = self.denoise(request, conditions, generator)
                steps.decoding()
                video = self._decoded(latents, generator, request)
                wait_for(self._device)
                steps.decoded()
        finally:
            self.pipe.maybe_free_model_hooks()
        return video

    def _decoded(
        self, latents: "torch.Tensor", generator: "torch.Generator", request: VideoRequest
    ) -> "torch.Tensor":
        state = generator.get_state()

        def decode() -> "torch.Tensor":
            generator.set_state(state)  # the same noise, should it be decoded twice
            return self.decode(latents, generator)

        pixels = request.width * request.height * request.num_frames
        return self._pulled.tiles.by_need(pixels, decode)


def strength_of(request: VideoRequest) -> float:
    assert request.strength is not None, "a request with a video has one"
    return request.strength


def steps_over(request: VideoRequest) -> int:
    """Of a request's steps those that go over a video, at least one."""
    return max(1, int(request.num_inference_steps * strength_of(request)))


def _quiet() -> None:
    """No bars, no advice: a worker's log is for the worker."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for logging in (diffusers_logging, transformers_logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
