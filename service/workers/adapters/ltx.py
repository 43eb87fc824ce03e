"""LTX-Video on diffusers' LTXConditionPipeline, which covers all features of the family.

`Ltx` is distilled to seven steps; `LtxDev` takes any number of steps, and guidance; `LtxUpscaled`
generates a small clip, doubles its latents, and denoises them in a second pass.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.domain.request import VideoRequest
from service.workers.adapters.base import Conditions
from service.workers.adapters.diffusion import DiffusionAdapter, strength_of
from service.workers.adapters.tensors import to_images
from service.workers.weights import find_file, read_model, read_pipeline, read_single_file

if TYPE_CHECKING:
    import torch

# The timesteps that the model was distilled to. diffusers' documentation adds an eighth, 0.03: a
# whole forward pass that changes the latents by 0.00003.
TIMESTEPS = [1000, 993, 987, 981, 975, 909, 725]
# The timesteps over existing latents; the authors' second pass ends with them too.
SECOND_PASS = [909.4, 725.0, 421.9]
DECODE_TIMESTEP = 0.05
DECODE_NOISE_SCALE = 0.025
TONE_MAP = 0.6  # the authors' value for 13B 0.9.8
STEP = 32  # pixels per latent


class Ltx(DiffusionAdapter):
    """An Adapter for the distilled LTX-Video models."""

    max_tokens = 256  # the limit of LTXConditionPipeline
    rescale = 0.0

    def assemble(self, parts: list[Path], dtype: "torch.dtype") -> Any:
        """Read transformer and VAE from Lightricks' single file, the rest from a folder."""
        from diffusers import FlowMatchEulerDiscreteScheduler, LTXConditionPipeline

        *single, folder = parts
        return read_pipeline(
            LTXConditionPipeline,
            folder,
            dtype,
            # Never the folder's own: the one of Lightricks/LTX-Video shifts and stretches the
            # sigmas and requires a `mu` that this pipeline does not pass.
            scheduler=FlowMatchEulerDiscreteScheduler(),
            **(self._read_single_file(single[0], folder, dtype) if single else {}),
        )

    def _read_single_file(
        self, single: Path, configs: Path, dtype: "torch.dtype"
    ) -> dict[str, Any]:
        from diffusers import AutoencoderKLLTXVideo, LTXVideoTransformer3DModel

        checkpoint = find_file(self.card.weights[0], single)
        models = {"transformer": LTXVideoTransformer3DModel, "vae": AutoencoderKLLTXVideo}
        return {
            name: read_single_file(model, checkpoint, configs, name, dtype)
            for name, model in models.items()
        }

    def steps(self, request: VideoRequest, conditions: Conditions) -> int:
        return len(self._timesteps(request, conditions))

    def _timesteps(self, request: VideoRequest, conditions: Conditions) -> list[float]:
        """Return the schedule; for video to video its end, from the strength's noise level."""
        if conditions.video is None:
            return self._schedule(request)
        noise = 1000 * strength_of(request)
        return [noise, *(t for t in self._schedule(request, video_to_video=True) if t < noise)]

    def _schedule(self, request: VideoRequest, *, video_to_video: bool = False) -> list[float]:
        return [*TIMESTEPS, *SECOND_PASS[-1:]] if video_to_video else list(TIMESTEPS)

    def denoise(
        self, request: VideoRequest, conditions: Conditions, generator: "torch.Generator"
    ) -> "torch.Tensor":
        size = (request.width, request.height)
        timesteps = self._timesteps(request, conditions)
        latents = self._encode(conditions, size)
        return self._run_pass(request, conditions, generator, size, timesteps, latents)

    def _run_pass(
        self,
        request: VideoRequest,
        conditions: Conditions,
        generator: "torch.Generator",
        size: tuple[int, int],
        timesteps: list[float],
        start: "torch.Tensor | None",
    ) -> "torch.Tensor":
        if start is not None:
            # The pipeline reads latents only below full strength, and then skips the first step:
            # add one to skip.
            timesteps = [1000.0, *timesteps]
        latents: torch.Tensor = self.pipe(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt or "",
            width=size[0],
            height=size[1],
            num_frames=request.num_frames,
            frame_rate=request.fps,
            timesteps=timesteps,
            latents=start,
            denoise_strength=1.0 if start is None else 0.999,
            conditions=_pipeline_conditions(request, conditions),
            # Noise on a condition would remain: conditions are never denoised.
            image_cond_noise_scale=0.0,
            guidance_scale=request.guidance_scale,
            guidance_rescale=self.rescale,
            max_sequence_length=self.max_tokens,
            generator=generator,
            output_type="latent",
        ).frames
        return latents

    def _encode(self, conditions: Conditions, size: tuple[int, int]) -> "torch.Tensor | None":
        """Return the input video as latents of this size, or None without one."""
        if conditions.video is None:
            return None
        width, height = size
        vae = self.pipe.vae
        images = to_images(conditions.video)
        video = self.pipe.video_processor.preprocess_video(images, height, width)
        video = video.to(self.pipe._execution_device, vae.dtype)
        latents: torch.Tensor = self.pipe._normalize_latents(
            vae.encode(video).latent_dist.mode(), vae.latents_mean, vae.latents_std
        )
        return latents

    def decode(self, latents: "torch.Tensor", generator: "torch.Generator") -> "torch.Tensor":
        import torch
        from diffusers.utils.torch_utils import randn_tensor

        vae = self.pipe.vae
        latents = self.pipe._denormalize_latents(
            latents, vae.latents_mean, vae.latents_std, vae.config.scaling_factor
        ).to(self.pipe.text_encoder.dtype)
        like = {"device": latents.device, "dtype": latents.dtype}
        # The second draw from the generator; the first made the latents.
        noise = randn_tensor(latents.shape, generator=generator, **like)
        scale = torch.tensor(DECODE_NOISE_SCALE, **like)
        latents = (1 - scale) * latents + scale * noise
        video: torch.Tensor = vae.decode(
            latents, torch.tensor([DECODE_TIMESTEP], **like), return_dict=False
        )[0]
        return video


class LtxDev(Ltx):
    """An Adapter for LTX-Video models that are not distilled."""

    # Reduces the contrast that guidance adds; the authors' value.
    rescale = 0.7

    def _schedule(self, request: VideoRequest, *, video_to_video: bool = False) -> list[float]:
        from diffusers.pipelines.ltx.pipeline_ltx_condition import linear_quadratic_schedule

        sigmas: list[float] = (
            linear_quadratic_schedule(request.num_inference_steps) * 1000
        ).tolist()
        return sigmas


class LtxUpscaled(Ltx):
    """An Adapter for distilled LTX-Video models with a latent upsampler, as the authors run 13B.

    The first pass is at two thirds of the size; its latents are doubled, so the second is at four
    thirds, and the frames are resized at the end.
    """

    _upsampler: Any = None

    def assemble(self, parts: list[Path], dtype: "torch.dtype") -> Any:
        """Read the upsampler from its own folder of the hub, the rest from another."""
        from diffusers import LTXLatentUpsamplePipeline
        from diffusers.pipelines.ltx.modeling_latent_upsampler import LTXLatentUpsamplerModel

        *single, folder = parts
        pipe = super().assemble([folder], dtype)
        # It decodes 1.8 times the pixels of the request.
        pipe.vae.enable_tiling()
        # A local folder holds the upsampler as one more component.
        source, part = (single[0], None) if single else (folder, "latent_upsampler")
        model = read_model(LTXLatentUpsamplerModel, source, part, dtype)
        self._upsampler = LTXLatentUpsamplePipeline(vae=pipe.vae, latent_upsampler=model)
        return pipe

    def unload(self) -> None:
        self._upsampler = None
        super().unload()

    def place(self, pipe: Any, device: "torch.device") -> None:
        super().place(pipe, device)
        self._upsampler.latent_upsampler.to(device)

    def steps(self, request: VideoRequest, conditions: Conditions) -> int:
        return super().steps(request, conditions) + len(self._second_timesteps(request, conditions))

    def _second_timesteps(self, request: VideoRequest, conditions: Conditions) -> list[float]:
        """Return the second pass's timesteps; for video to video none above the strength."""
        if conditions.video is None:
            return list(SECOND_PASS)
        noise = min(SECOND_PASS[0], 1000 * strength_of(request))
        return [noise, *(t for t in SECOND_PASS if t < noise)]

    def denoise(
        self, request: VideoRequest, conditions: Conditions, generator: "torch.Generator"
    ) -> "torch.Tensor":
        small = (_two_thirds(request.width), _two_thirds(request.height))
        timesteps = self._timesteps(request, conditions)
        start = self._encode(conditions, small)
        latents = self._run_pass(request, conditions, generator, small, timesteps, start)
        large_latents = self._upsampler(
            latents=latents,
            adain_factor=1.0,
            tone_map_compression_ratio=TONE_MAP,
            output_type="latent",
        ).frames
        large = (2 * small[0], 2 * small[1])
        timesteps = self._second_timesteps(request, conditions)
        return self._run_pass(request, conditions, generator, large, timesteps, large_latents)


def _two_thirds(pixels: int) -> int:
    return max(STEP, pixels * 2 // 3 // STEP * STEP)


def _pipeline_conditions(request: VideoRequest, conditions: Conditions) -> list[Any] | None:
    """Convert conditions to the pipeline's own, each with its frame index; None without any."""
    from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition
    from PIL import Image

    images = [(0, conditions.image), *conditions.keyframes]
    images.append((request.num_frames - 1, conditions.last_image))
    pipeline_conditions = [
        LTXVideoCondition(image=Image.fromarray(image), frame_index=index)
        for index, image in images
        if image is not None
    ]
    if conditions.tail is not None:
        tail = to_images(conditions.tail)
        pipeline_conditions.insert(0, LTXVideoCondition(video=tail, frame_index=0))
    return pipeline_conditions or None
