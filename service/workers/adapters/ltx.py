"""LTX-Video on diffusers' LTXConditionPipeline: loaded once, then one clip after another."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.domain.attempt import AttemptFailed, FailureKind, Stage
from service.domain.card import ModelCard
from service.domain.request import VideoRequest
from service.workers.adapters.base import Conditions, Frame, OnStep
from service.workers.device import best_dtype, find_device, gpu_name, out_of_memory, wait_for
from service.workers.weights import load_ltx

if TYPE_CHECKING:
    import torch

# The steps that the model was distilled to. The documents of diffusers add an eighth, 0.03: a
# whole forward pass that moves the latents by 0.00003.
TIMESTEPS = [1000, 993, 987, 981, 975, 909, 725]
GUIDANCE = 1.0  # distilled: one forward pass a step, no negative prompt
DECODE_TIMESTEP = 0.05
DECODE_NOISE_SCALE = 0.025
MAX_TOKENS = 256  # as LTXConditionPipeline has it; prompts are padded to it and never cut


class Ltx:
    """An Adapter for the distilled LTX-Video models; text to video."""

    def __init__(self, card: ModelCard, weights: Path | None) -> None:
        self._card = card
        self._weights = weights
        self._pipe: Any = None
        self._gpu: str | None = None

    @property
    def gpu(self) -> str | None:
        return self._gpu

    def load(self) -> None:
        if self._pipe is not None:
            return
        _quiet()
        device = find_device()
        pipe = load_ltx(self._card, self._weights, best_dtype(device))
        pipe.set_progress_bar_config(disable=True)
        with out_of_memory(f"{self._card.title} does not fit into the memory of this device"):
            pipe.to(device)
        self._pipe, self._gpu = pipe, gpu_name(device)

    def generate(
        self, request: VideoRequest, conditions: Conditions, on_step: OnStep
    ) -> Iterator[Frame]:
        self._check(request)
        with out_of_memory(
            f"{request.num_frames} frames of {request.width}x{request.height} do not fit into the "
            "memory of this device; ask for fewer frames or a smaller size"
        ):
            video = self._render(request, on_step)
        yield from _frames(video)

    def _check(self, request: VideoRequest) -> None:
        """Refuse what the pipeline would take and silently change."""
        tokens = len(self._pipe.tokenizer(request.prompt).input_ids)
        if tokens > MAX_TOKENS:
            raise AttemptFailed(
                FailureKind.USER,
                "prompt_too_long",
                f"the prompt is {tokens} tokens long and {self._card.name} reads at most "
                f"{MAX_TOKENS}; shorten it",
            )
        if request.num_frames not in self._card.frames:
            nearest = " or ".join(map(str, self._card.frames.neighbours(request.num_frames)))
            raise AttemptFailed(
                FailureKind.USER,
                "not_a_step",
                f"{self._card.name} cannot make {request.num_frames} frames; nearest: {nearest}",
            )

    def _render(self, request: VideoRequest, on_step: OnStep) -> "torch.Tensor":
        """The decoded clip, (1, 3, frames, height, width) from -1 to 1, on the device."""
        import torch

        # On the CPU: the same noise whatever the device. Drawn from twice, first for the latents.
        generator = torch.Generator("cpu").manual_seed(request.seed)
        try:
            with torch.inference_mode():
                latents = self._denoise(request, generator, on_step)
                on_step(Stage.DECODE, 0, 1)
                video = self._decode(latents, generator)
                on_step(Stage.DECODE, 1, 1)
        finally:
            self._pipe.maybe_free_model_hooks()
        return video

    def _denoise(
        self, request: VideoRequest, generator: "torch.Generator", on_step: OnStep
    ) -> "torch.Tensor":
        def on_step_end(_pipe: Any, index: int, _timestep: Any, _tensors: Any) -> dict[str, Any]:
            # Unless waited for, all steps are reported while the GPU is still busy with the first,
            # and a cancel leaves it with the work of seven.
            wait_for(self._pipe.device)
            on_step(Stage.GENERATE, index + 1, len(TIMESTEPS))
            return {}

        latents: torch.Tensor = self._pipe(
            prompt=request.prompt,
            width=request.width,
            height=request.height,
            num_frames=request.num_frames,
            frame_rate=request.fps,
            timesteps=TIMESTEPS,
            guidance_scale=GUIDANCE,
            max_sequence_length=MAX_TOKENS,
            generator=generator,
            output_type="latent",
            callback_on_step_end=on_step_end,
            callback_on_step_end_tensor_inputs=[],
        ).frames
        return latents

    def _decode(self, latents: "torch.Tensor", generator: "torch.Generator") -> "torch.Tensor":
        """What the pipeline does after the last step, less its three copies of the clip.

        Kept equal to it, bit for bit, by a test.
        """
        import torch
        from diffusers.utils.torch_utils import randn_tensor

        vae = self._pipe.vae
        latents = self._pipe._denormalize_latents(
            latents, vae.latents_mean, vae.latents_std, vae.config.scaling_factor
        ).to(self._pipe.text_encoder.dtype)
        like = {"device": latents.device, "dtype": latents.dtype}
        noise = randn_tensor(latents.shape, generator=generator, **like)
        scale = torch.tensor(DECODE_NOISE_SCALE, **like)
        latents = (1 - scale) * latents + scale * noise
        video: torch.Tensor = vae.decode(
            latents, torch.tensor([DECODE_TIMESTEP], **like), return_dict=False
        )[0]
        wait_for(self._pipe.device)
        return video


def _frames(video: "torch.Tensor") -> Iterator[Frame]:
    """Frame by frame, so that there is never a second clip in memory; rounded, not cut off."""
    for index in range(video.shape[2]):
        # First to float32: near 1 bfloat16 is coarser than the 256 levels of a pixel.
        frame = (video[0, :, index].float() * 0.5 + 0.5).clamp(0, 1) * 255
        pixels: Frame = frame.round().byte().permute(1, 2, 0).contiguous().cpu().numpy()
        yield pixels


def _quiet() -> None:
    """No bars, no advice: a worker's log is for the worker."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for logging in (diffusers_logging, transformers_logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
