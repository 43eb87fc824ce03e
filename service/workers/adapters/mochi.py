"""Mochi 1 on diffusers' MochiPipeline, which supports text to video only."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.domain.request import VideoRequest
from service.workers.adapters.base import Conditions
from service.workers.adapters.diffusion import DiffusionAdapter
from service.workers.weights import read_pipeline

if TYPE_CHECKING:
    import torch


class Mochi(DiffusionAdapter):
    """An Adapter for Mochi 1."""

    max_tokens = 256

    def assemble(self, parts: list[Path], dtype: "torch.dtype") -> Any:
        from diffusers import MochiPipeline

        # The transformer comes in two precisions. The smaller is fetched from the hub; a local
        # folder may have the other.
        has_bf16 = any(parts[0].glob("transformer/*bf16*"))
        pipe = read_pipeline(MochiPipeline, parts[0], dtype, variant="bf16" if has_bf16 else None)
        # Without tiles, 163 frames take 70 GB in float32.
        pipe.vae.enable_tiling()
        return pipe

    def denoise(
        self, request: VideoRequest, conditions: Conditions, generator: "torch.Generator"
    ) -> "torch.Tensor":
        latents: torch.Tensor = self.pipe(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            width=request.width,
            height=request.height,
            num_frames=request.num_frames,
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
            max_sequence_length=self.max_tokens,
            generator=generator,
            output_type="latent",
        ).frames
        return latents

    def decode(self, latents: "torch.Tensor", generator: "torch.Generator") -> "torch.Tensor":
        import torch

        config = self.pipe.vae.config
        mean, std = (
            torch.tensor(numbers).view(1, -1, 1, 1, 1).to(latents.device, latents.dtype)
            for numbers in (config.latents_mean, config.latents_std)
        )
        latents = latents * std / config.scaling_factor + mean
        video: torch.Tensor = self.pipe.vae.decode(latents, return_dict=False)[0]
        return video
