"""Base class of all adapters over a diffusers pipeline.

Torch and diffusers are imported inside functions, so that importing an adapter is cheap.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from service.domain.attempt import AttemptFailed, Profile
from service.domain.models.card import ModelCard
from service.domain.models.tuning import DEFAULT_TUNING, Tuning
from service.domain.request import VideoRequest
from service.workers.adapters.base import Clip, Conditions, Frame, OnStep
from service.workers.adapters.checks import check_conditions, check_frames, check_tokens
from service.workers.adapters.steps import Steps
from service.workers.adapters.tensors import to_frames
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
from service.workers.tuning.embeddings import EmbeddingCache
from service.workers.weights import find_weights, silence_libraries

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


class DiffusionAdapter(ABC):
    """An Adapter over one diffusers pipeline, `pipe`, which is set by `load`.

    A model family implements how its pipeline is assembled, how many steps a request takes, and
    how latents are denoised and decoded. Steps are observed on the scheduler, since not every
    pipeline has a callback; an exception of `on_step` leaves the pipeline at once.
    """

    # Prompts are padded to this length and never truncated.
    max_tokens: ClassVar[int]

    def __init__(
        self, card: ModelCard, weights: Path | None, tuning: Tuning = DEFAULT_TUNING
    ) -> None:
        self.card = card
        self.pipe: Any = None
        self._assembled: Any = None  # the same pipeline, also while it is not on the device
        self._weights = weights
        self._gpu: str | None = None
        self._tuning = tuning
        self._profile = Profile.FULL
        self._memory = ""
        self._embeddings = EmbeddingCache(tuning.embeddings_bytes)

    @abstractmethod
    def assemble(self, parts: list[Path], dtype: "torch.dtype") -> Any:
        """Build the pipeline on the CPU from one folder for each of the card's weights.

        A single folder configured by the operator replaces all of them.
        """

    @abstractmethod
    def denoise(
        self, request: VideoRequest, conditions: Conditions, generator: "torch.Generator"
    ) -> "torch.Tensor":
        """Return the latents of the clip, (1, channels, frames, height, width)."""

    @abstractmethod
    def decode(self, latents: "torch.Tensor", generator: "torch.Generator") -> "torch.Tensor":
        """Return the clip, (1, 3, frames, height, width) from -1 to 1.

        Repeats the pipeline's own decoding without its three copies of the clip; a test compares
        the two.
        """

    def steps(self, request: VideoRequest, conditions: Conditions) -> int:
        """Count the steps that `denoise` takes."""
        return request.num_inference_steps

    def tokens(self, prompt: str) -> int:
        """Count the tokens of a prompt, at most `max_tokens` of which are read."""
        return len(self.pipe.tokenizer(prompt).input_ids)

    def equip(self, pipe: Any) -> None:
        """Configure a pipeline over the model's components: no progress bar, cached embeddings."""
        pipe.set_progress_bar_config(disable=True)
        self._embeddings.attach(pipe)

    def place(self, pipe: Any, device: "torch.device") -> None:
        self._memory = place_pipe(pipe, device, self.card, self._profile)

    @property
    def gpu(self) -> str | None:
        return self._gpu

    @property
    def made_with(self) -> dict[str, str]:
        return {} if self.pipe is None else self._applied_tuning.report() | {"memory": self._memory}

    def load(self, profile: Profile = Profile.FULL) -> None:
        if self.pipe is not None and profile is self._profile:
            return
        device = find_device()
        if self._assembled is None:
            self._assembled = self._assemble_tuned(device)
        self.pipe, self._profile = None, profile
        self._applied_tuning.decoder.tile_always(profile is Profile.SMALL)
        try:
            with out_of_memory(f"{self.card.title} does not fit into the memory of this device"):
                self.place(self._assembled, device)
        except AttemptFailed:
            # Free the device; another profile can reuse the weights without reading them again.
            self._assembled.remove_all_hooks()
            self._assembled.to("cpu")
            release_memory()
            raise
        self.pipe, self._gpu, self._device = self._assembled, gpu_name(device), device
        log.info(
            "model loaded", extra={"model": self.card.name, "gpu": self._gpu, **self.made_with}
        )

    def unload(self) -> None:
        """Free the model's memory; `load` reads it again."""
        if self._assembled is not None:
            self.pipe = self._assembled = None
            del self._applied_tuning
        release_memory()

    def _assemble_tuned(self, device: "torch.device") -> Any:
        """Build the pipeline on the CPU and apply the tuning."""
        silence_libraries()
        pipe = self.assemble(find_weights(self.card, self._weights), best_dtype(device))
        self.equip(pipe)
        self._applied_tuning = AppliedTuning(pipe, self._tuning, device, self._embeddings)
        return pipe

    def generate(self, request: VideoRequest, conditions: Conditions, on_step: OnStep) -> Clip:
        return Clip(self._frames(request, conditions, on_step), conditions.audio)

    def _frames(
        self, request: VideoRequest, conditions: Conditions, on_step: OnStep
    ) -> Iterator[Frame]:
        self.check(request, conditions)
        with out_of_memory(
            f"{request.num_frames} frames of {request.width}x{request.height} do not fit into the "
            "memory of this device; ask for fewer frames or a smaller size"
        ):
            video = self._render(request, conditions, on_step)
        yield from to_frames(video, request)

    def check(self, request: VideoRequest, conditions: Conditions) -> None:
        """Raise AttemptFailed (user) for a request that the pipeline would silently change."""
        for text_name, text in (
            ("prompt", request.prompt),
            ("negative prompt", request.negative_prompt),
        ):
            if text:
                check_tokens(self.card, text_name, self.tokens(text), self.max_tokens)
        check_frames(self.card, request)
        check_conditions(self.card, request, conditions)

    def _render(
        self, request: VideoRequest, conditions: Conditions, on_step: OnStep
    ) -> "torch.Tensor":
        import torch

        # On the CPU, so that the noise does not depend on the device.
        generator = torch.Generator("cpu").manual_seed(request.seed)
        steps = Steps(self.steps(request, conditions), on_step, self._device)
        try:
            with torch.inference_mode():
                with steps.watch(self.pipe.scheduler):
                    latents = self.denoise(request, conditions, generator)
                steps.begin_decoding()
                video = self._decode(latents, generator, request)
                wait_for(self._device)
                steps.end_decoding()
        finally:
            self.pipe.maybe_free_model_hooks()
        return video

    def _decode(
        self, latents: "torch.Tensor", generator: "torch.Generator", request: VideoRequest
    ) -> "torch.Tensor":
        state = generator.get_state()

        def decode() -> "torch.Tensor":
            generator.set_state(state)  # the same noise when it is decoded twice
            return self.decode(latents, generator)

        pixels = request.width * request.height * request.num_frames
        return self._applied_tuning.decoder.decode(pixels, decode)


def strength_of(request: VideoRequest) -> float:
    assert request.strength is not None, "set in every request with an input video"
    return request.strength


def steps_over(request: VideoRequest) -> int:
    """Count the steps of a video-to-video request, scaled by its strength; at least 1."""
    return max(1, int(request.num_inference_steps * strength_of(request)))
