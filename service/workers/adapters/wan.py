"""Wan 2.2 TI2V-5B on diffusers: text, a first image, a tail or a video, by three pipelines.

`Wan` is the model as its authors gave it; `WanFast` is FastVideo's distillation to three steps.
The three pipelines share every module. They are built from them and not by `from_pipe`, which
would cast all of them to float32.
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.domain.request import VideoRequest
from service.workers.adapters.base import Conditions
from service.workers.adapters.diffusion import DiffusionAdapter, steps_over, strength_of
from service.workers.adapters.distilled import distilled_scheduler
from service.workers.adapters.pictures import pictures, tensor_of
from service.workers.weights import read_model, read_pipeline

if TYPE_CHECKING:
    import torch

# Where FastVideo's model was trained to stand, and between them it is noised anew.
SIGMAS = [1.0, 0.757, 0.522]


class Wan(DiffusionAdapter):
    """An Adapter for Wan 2.2 TI2V-5B, whose transformer knows a time for every latent."""

    max_tokens = 512

    def assemble(self, parts: list[Path], dtype: "torch.dtype") -> Any:
        import torch
        from diffusers import AutoencoderKLWan, WanPipeline

        # As diffusers' documents have it; beside the transformer's steps it costs little.
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
        pipe, follows = self._following(request, conditions)
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
            **follows,
        ).frames
        return latents

    def _following(
        self, request: VideoRequest, conditions: Conditions
    ) -> tuple[Any, dict[str, Any]]:
        """The pipeline for what is given, and what to tell it of that."""
        if conditions.video is not None:
            follows = {"video": pictures(conditions.video), "strength": self._strength(request)}
            return self._over_video(), follows
        begin = conditions.tail if conditions.tail is not None else conditions.image
        if begin is None:
            return self.pipe, {"num_frames": request.num_frames}
        begin = begin if begin.ndim == 4 else begin[None]
        return self._from_image(tensor_of(begin)), {
            "image": pictures(begin)[0],
            "num_frames": request.num_frames,
        }

    def _strength(self, request: VideoRequest) -> float:
        """As the pipeline has it, which cuts a number of steps off: half a step more is safe."""
        return min(1.0, (steps_over(request) + 0.5) / request.num_inference_steps)

    def _over_video(self) -> Any:
        from diffusers import WanVideoToVideoPipeline
        from diffusers.video_processor import VideoProcessor

        pipe = self._with_same_modules(WanVideoToVideoPipeline)
        # It takes every VAE for Wan 2.1's, which has eight pixels to a latent and not sixteen.
        pipe.vae_scale_factor_spatial = self.pipe.vae_scale_factor_spatial
        pipe.video_processor = VideoProcessor(vae_scale_factor=self.pipe.vae_scale_factor_spatial)
        return pipe

    def _from_image(self, begin: "torch.Tensor") -> Any:
        from diffusers import WanImageToVideoPipeline

        pipe = self._with_same_modules(WanImageToVideoPipeline, expand_timesteps=True)
        if begin.shape[2] > 1:
            pipe.prepare_latents = partial(_begin_with, pipe, begin)
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
        """From the hub: the transformer in a folder of FastVideo's, all else in Wan's own."""
        from diffusers import WanPipeline, WanTransformer3DModel

        transformer = read_model(WanTransformer3DModel, parts[0], "transformer", dtype)
        # The VAE in bfloat16: its decoder is more work than the three steps.
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
        """All, or for a video to video from the noise on that its strength is."""
        if conditions.video is None:
            return SIGMAS
        noise = strength_of(request)
        return [noise, *(sigma for sigma in SIGMAS if sigma < noise)]

    def _strength(self, request: VideoRequest) -> float:
        return 1.0  # all of the steps: they begin where they should


def _begin_with(  # noqa: PLR0913 - the signature is that of diffusers
    pipe: Any,
    begin: "torch.Tensor",
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
    """WanImageToVideoPipeline.prepare_latents, with several frames in place of the one image.

    The frames are the first latents at time 0, as the image is. The model was trained with one.
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
    known = vae.encode(begin.to(device, vae.dtype)).latent_dist.mode().to(device, dtype)
    mean, std = _statistics(vae, known)
    condition = torch.zeros_like(latents)
    condition[:, :, : known.shape[2]] = (known - mean) / std
    mask = torch.ones(1, 1, *size, dtype=dtype, device=device)
    mask[:, :, : known.shape[2]] = 0
    return latents, condition, mask


def _statistics(vae: Any, like: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """Mean and deviation of the latents, as the VAE's configuration has them."""
    import torch

    mean, std = (
        torch.tensor(numbers).view(1, -1, 1, 1, 1).to(like.device, like.dtype)
        for numbers in (vae.config.latents_mean, vae.config.latents_std)
    )
    return mean, std
