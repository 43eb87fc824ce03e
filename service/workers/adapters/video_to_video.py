"""Video to video with pipelines that lack it but take sigmas and latents."""

from typing import TYPE_CHECKING, Any

from service.domain.request import VideoRequest
from service.workers.adapters.base import Frames
from service.workers.adapters.diffusion import steps_over
from service.workers.adapters.tensors import to_tensor

if TYPE_CHECKING:
    import torch


def video_to_video_inputs(
    pipe: Any, request: VideoRequest, video: Frames, generator: "torch.Generator"
) -> dict[str, Any]:
    """Build arguments for `pipe` to run its last steps over `video` with noise added."""
    import torch
    from diffusers.utils.torch_utils import randn_tensor

    steps = request.num_inference_steps
    sigmas = [1 - step / steps for step in range(steps)][-steps_over(request) :]
    # The scheduler shifts the sigmas; the noise level must be its first one after that.
    pipe.scheduler.set_timesteps(sigmas=sigmas)
    noise_level = float(pipe.scheduler.sigmas[0])
    vae, device = pipe.vae, pipe._execution_device
    encoding = vae.encode(to_tensor(video).to(device, vae.dtype)).latent_dist.mode().float()
    noise = randn_tensor(encoding.shape, generator=generator, device=device, dtype=torch.float32)
    latents = noise_level * noise + (1 - noise_level) * encoding * vae.config.scaling_factor
    return {"sigmas": sigmas, "latents": latents, "num_inference_steps": len(sigmas)}
