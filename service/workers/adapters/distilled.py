"""The scheduler of models distilled to a few steps with new noise between them (DMD)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def distilled_scheduler(sigmas: list[float]) -> Any:
    """Build a scheduler with fixed `sigmas`, or those of `begin`, for any number of steps.

    Each step predicts the clean clip and adds noise up to the next sigma: diffusers' stochastic
    sampling, but with noise drawn from the seed.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler

    class Distilled(FlowMatchEulerDiscreteScheduler):  # type: ignore[misc]
        schedule = sigmas
        noise: "torch.Generator | None" = None

        def begin(self, schedule: list[float], noise: "torch.Generator") -> None:
            self.schedule, self.noise = schedule, noise

        def set_timesteps(
            self, num_inference_steps: int | None = None, device: Any = None, **_: Any
        ) -> None:
            super().set_timesteps(sigmas=self.schedule, device=device)

        def step(self, *args: Any, **kwargs: Any) -> Any:
            return super().step(*args, generator=self.noise, **kwargs)

    return Distilled(stochastic_sampling=True)
