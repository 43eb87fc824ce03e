"""Wan 2.2 TI2V-5B on diffusers: text, a first image, a tail or a video, by three pipelines.

`Wan` is the original model; `WanFast` is FastVideo's distillation to three steps. The three
pipelines share every module. They are not built by `from_pipe`, which would cast the modules to
float32.
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.domain.request import VideoRequest
from service.workers.adapters.base import Conditions
from service.workers.adapters.diffusion import DiffusionAdapter, steps_over, strength_of
from service.workers.adapters.distilled import distilled_scheduler
from service.workers.adapters.tensors import to_images, to_tensor
from service.workers.weights import read_model, read_pipeline

if TYPE_CHECKING:
    import torch

# The sigmas that FastVideo's model was trained for; noise is added between them.
SIGMAS = [1.0, 0.757, 0.522]


class Wan(DiffusionAdapter):
    """An Adapter for Wan 2.2 TI2V-5B, whose transformer takes a timestep per latent."""

    max_tokens = 512

    def assemble(self, parts: list[Path], dtype: "torch.dtype") -> Any:
        import torch
        from diffusers import AutoencoderKLWan, WanPipeline

        # In float32, as in diffusers' documentation; decoding is fast beside the steps.
        vae = read_model(AutoencoderKLWan, parts[0], "vae", torch.float32)
        return read_pipeline(WanPipeline, parts[0], dtype, vae=vae)

    def tokens(self, prompt: str) -> int:
        from diffusers.pipelines.wan.pipeline_wan import prompt_clean

        return super().tokens(prompt_clean(prompt))

    def steps(self, request: VideoRequest, conditions: Conditions) -> int:
        return request.num_inference_steps if conditions.video is None else steps_over(request)

    def denoise(
        self, request: VideoRequest, conditions: Conditions, generator: "torch.Generator"
    ) -> "torch.Tensor":
        pipe, inputs = self._select_pipeline(request, conditions)
        latents: torch.Tensor = pipe(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            width=request.width,
            height=request.height,
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
            max_sequence_length=self.max_tokens,
            generator=generator,
            output_type="latent",
            **inputs,
        ).frames
        return latents

    def _select_pipeline(
        self, request: VideoRequest, conditions: Conditions
    ) -> tuple[Any, dict[str, Any]]:
        """Return the pipeline for these conditions, and its arguments for them."""
        if conditions.video is not None:
            inputs = {"video": to_images(conditions.video), "strength": self._strength(request)}
            return self._video_pipeline(), inputs
        frames = conditions.tail if conditions.tail is not None else conditions.image
        if frames is None:
            return self.pipe, {"num_frames": request.num_frames}
        frames = frames if frames.ndim == 4 else frames[None]
        return self._image_pipeline(to_tensor(frames)), {
            "image": to_images(frames)[0],
            "num_frames": request.num_frames,
        }

    def _strength(self, request: VideoRequest) -> float:
        """Return the strength for the pipeline, which rounds steps down: half a step is added."""
        return min(1.0, (steps_over(request) + 0.5) / request.num_inference_steps)

    def _video_pipeline(self) -> Any:
        from diffusers import WanVideoToVideoPipeline
        from diffusers.video_processor import VideoProcessor

        pipe = self._with_same_modules(WanVideoToVideoPipeline)
        # It assumes Wan 2.1's VAE, with eight pixels per latent instead of sixteen.
        pipe.vae_scale_factor_spatial = self.pipe.vae_scale_factor_spatial
        pipe.video_processor = VideoProcessor(vae_scale_factor=self.pipe.vae_scale_factor_spatial)
        return pipe

    def _image_pipeline(self, first_frames: "torch.Tensor") -> Any:
        from diffusers import WanImageToVideoPipeline

        pipe = self._with_same_modules(WanImageToVideoPipeline, expand_timesteps=True)
        if first_frames.shape[2] > 1:
            pipe.prepare_latents = partial(_prepare_latents, pipe, first_frames)
        return pipe

    def _with_same_modules(self, pipeline: Any, **choices: Any) -> Any:
        names = ("tokenizer", "text_encoder", "vae", "scheduler", "transformer")
        pipe = pipeline(**{name: getattr(self.pipe, name) for name in names}, **choices)
        self.equip(pipe)
        return pipe

    def decode(self, latents: "torch.Tensor", generator: "torch.Generator") -> "torch.Tensor":
        vae = self.pipe.vae
        mean, std = _statistics(vae, latents.to(vae.dtype))
        video: torch.Tensor = vae.decode(
            latents.to(vae.dtype) / (1.0 / std) + mean, return_dict=False
        )[0]
        return video


class WanFast(Wan):
    """An Adapter for FastWan 2.2 TI2V-5B: another transformer, three steps, no guidance."""

    def assemble(self, parts: list[Path], dtype: "torch.dtype") -> Any:
        """Read the transformer from FastVideo's folder of the hub, the rest from Wan's."""
        from diffusers import WanPipeline, WanTransformer3DModel

        transformer = read_model(WanTransformer3DModel, parts[0], "transformer", dtype)
        # The VAE in bfloat16: its decoder costs more than the three steps.
        return read_pipeline(
            WanPipeline,
            parts[-1],
            dtype,
            transformer=transformer,
            scheduler=distilled_scheduler(SIGMAS),
        )

    def steps(self, request: VideoRequest, conditions: Conditions) -> int:
        return len(self._sigmas(request, conditions))

    def denoise(
        self, request: VideoRequest, conditions: Conditions, generator: "torch.Generator"
    ) -> "torch.Tensor":
        self.pipe.scheduler.begin(self._sigmas(request, conditions), generator)
        return super().denoise(request, conditions, generator)

    def _sigmas(self, request: VideoRequest, conditions: Conditions) -> list[float]:
        """Return the sigmas; for video to video those below its strength, and the strength."""
        if conditions.video is None:
            return SIGMAS
        noise = strength_of(request)
        return [noise, *(sigma for sigma in SIGMAS if sigma < noise)]

    def _strength(self, request: VideoRequest) -> float:
        return 1.0  # all steps: the schedule begins at the strength already


def _prepare_latents(  # noqa: PLR0913 - the signature is that of diffusers
    pipe: Any,
    first_frames: "torch.Tensor",
    _image: Any,
    batch_size: int,
    num_channels_latents: int,
    height: int,
    width: int,
    num_frames: int,
    dtype: "torch.dtype",
    device: "torch.device",
    generator: "torch.Generator",
    *_: Any,
) -> tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]:
    """Replace WanImageToVideoPipeline.prepare_latents: several first frames instead of one image.

    They are the first latents, at timestep 0. The model was trained with one.
    """
    import torch
    from diffusers.utils.torch_utils import randn_tensor

    frames = (num_frames - 1) // pipe.vae_scale_factor_temporal + 1
    scale = pipe.vae_scale_factor_spatial
    size = (frames, height // scale, width // scale)
    latents = randn_tensor(
        (batch_size, num_channels_latents, *size), generator=generator, device=device, dtype=dtype
    )
    vae = pipe.vae
    encoding = vae.encode(first_frames.to(device, vae.dtype)).latent_dist.mode().to(device, dtype)
    mean, std = _statistics(vae, encoding)
    condition = torch.zeros_like(latents)
    condition[:, :, : encoding.shape[2]] = (encoding - mean) / std
    mask = torch.ones(1, 1, *size, dtype=dtype, device=device)
    mask[:, :, : encoding.shape[2]] = 0
    return latents, condition, mask


def _statistics(vae: Any, like: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return mean and standard deviation of the latents from the VAE's configuration."""
    import torch

    mean, std = (
        torch.tensor(numbers).view(1, -1, 1, 1, 1).to(like.device, like.dtype)
        for numbers in (vae.config.latents_mean, vae.config.latents_std)
    )
    return mean, std
