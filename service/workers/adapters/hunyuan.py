"""HunyuanVideo 1.0 on diffusers' HunyuanVideoPipeline: text to video and video to video."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.domain.request import VideoRequest
from service.workers.adapters.base import Conditions
from service.workers.adapters.diffusion import DiffusionAdapter, steps_over
from service.workers.adapters.video_to_video import video_to_video_inputs
from service.workers.weights import read_pipeline

if TYPE_CHECKING:
    import torch


class Hunyuan(DiffusionAdapter):
    """An Adapter for HunyuanVideo, whose guidance is an input of the transformer."""

    # Read by LLaMA. CLIP reads the first 77 tokens only, as in training.
    max_tokens = 256

    def assemble(self, parts: list[Path], dtype: "torch.dtype") -> Any:
        from diffusers import HunyuanVideoPipeline

        pipe = read_pipeline(HunyuanVideoPipeline, parts[0], dtype)
        # The attention of its middle block grows with the square of the pixels.
        pipe.vae.enable_tiling()
        return pipe

    def tokens(self, prompt: str) -> int:
        from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import (
            DEFAULT_PROMPT_TEMPLATE as TEMPLATE,
        )

        return super().tokens(TEMPLATE["template"].format(prompt)) - int(TEMPLATE["crop_start"])

    def steps(self, request: VideoRequest, conditions: Conditions) -> int:
        return request.num_inference_steps if conditions.video is None else steps_over(request)

    def denoise(
        self, request: VideoRequest, conditions: Conditions, generator: "torch.Generator"
    ) -> "torch.Tensor":
        inputs: dict[str, Any] = {"num_inference_steps": request.num_inference_steps}
        if conditions.video is not None:
            inputs = video_to_video_inputs(self.pipe, request, conditions.video, generator)
        latents: torch.Tensor = self.pipe(
            prompt=request.prompt,
            width=request.width,
            height=request.height,
            num_frames=request.num_frames,
            generator=generator,
            output_type="latent",
            **self._guidance(request),
            **inputs,
        ).frames
        return latents

    def _guidance(self, request: VideoRequest) -> dict[str, Any]:
        return {"guidance_scale": request.guidance_scale, "max_sequence_length": self.max_tokens}

    def decode(self, latents: "torch.Tensor", generator: "torch.Generator") -> "torch.Tensor":
        vae = self.pipe.vae
        latents = latents.to(vae.dtype) / vae.config.scaling_factor
        video: torch.Tensor = vae.decode(latents, return_dict=False)[0]
        return video
