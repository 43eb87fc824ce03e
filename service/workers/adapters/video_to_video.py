"""Making a video over with pipelines that know nothing of it but take sigmas and latents."""

from typing import TYPE_CHECKING, Any

from service.domain.request import VideoRequest
from service.workers.adapters.base import Film
from service.workers.adapters.diffusion import steps_over
from service.workers.adapters.pictures import tensor_of

if TYPE_CHECKING:
    import torch


def over(
    pipe: Any, request: VideoRequest, film: Film, generator: "torch.Generator"
) -> dict[str, Any]:
    """What to tell `pipe` so that it takes the last of its steps, over `film` with noise on it."""
    import torch
    from diffusers.utils.torch_utils import randn_tensor

    steps = request.num_inference_steps
    sigmas = [1 - step / steps for step in range(steps)][-steps_over(request) :]
    # The scheduler shifts what it is told; the noise must be what it makes of the first.
    pipe.scheduler.set_timesteps(sigmas=sigmas)
    noise_level = float(pipe.scheduler.sigmas[0])
    vae, device = pipe.vae, pipe._execution_device
    known = vae.encode(tensor_of(film).to(device, vae.dtype)).latent_dist.mode().float()
    noise = randn_tensor(known.shape, generator=generator, device=device, dtype=torch.float32)
    latents = noise_level * noise + (1 - noise_level) * known * vae.config.scaling_factor
    return {"sigmas": sigmas, "latents": latents, "num_inference_steps": len(sigmas)}
