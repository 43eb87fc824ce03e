"""The scheduler: the authors' is a copy of an older one of diffusers, whose sigmas are a tensor."""

import diffusers


class FlowMatchEulerDiscreteScheduler(diffusers.FlowMatchEulerDiscreteScheduler):
    def set_timesteps(self, num_inference_steps=None, device=None, sigmas=None):
        super().set_timesteps(num_inference_steps, device=device, sigmas=sigmas.tolist())
