"""The scheduler of models that were distilled to a few steps with new noise between them (DMD)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def distilled_scheduler(sigmas: list[float]) -> Any:
    """Stands at `sigmas` whatever number of steps it is asked for, or where `begin` says.

    Each step guesses the clip that the noise hides, and noises it anew to the next sigma: what
    diffusers calls stochastic sampling, but with noise that the seed decides.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler

    class Distilled(FlowMatchEulerDiscreteScheduler):  # type: ignore[misc]
        where = sigmas
        noise: "torch.Generator | None" = None

        def begin(self, where: list[float], noise: "torch.Generator") -> None:
            self.where, self.noise = where, noise

        def set_timesteps(
            self, num_inference_steps: int | None = None, device: Any = None, **_: Any
        ) -> None:
            super().set_timesteps(sigmas=self.where, device=device)

        def step(self, *args: Any, **kwargs: Any) -> Any:
            return super().step(*args, generator=self.noise, **kwargs)

    return Distilled(stochastic_sampling=True)
