"""LTX-Video on diffusers' LTXConditionPipeline, which does all that the family can.

`Ltx` is distilled and has seven steps; `LtxDev` has as many as are asked for, and guidance;
`LtxUpscaled` makes a small clip first, doubles its latents, and goes over them once more.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.domain.request import VideoRequest
from service.workers.adapters.base import Conditions
from service.workers.adapters.diffusion import DiffusionAdapter, strength_of
from service.workers.adapters.pictures import pictures
from service.workers.weights import find_file, read_model, read_pipeline, read_single_file

if TYPE_CHECKING:
    import torch

# The steps that the model was distilled to. The documents of diffusers add an eighth, 0.03: a
# whole forward pass that moves the latents by 0.00003.
TIMESTEPS = [1000, 993, 987, 981, 975, 909, 725]
# The steps that go over latents which are there: the end of the authors' own second pass too.
OVER = [909.4, 725.0, 421.9]
DECODE_TIMESTEP = 0.05
DECODE_NOISE_SCALE = 0.025
TONE_MAP = 0.6  # the authors' own choice for 13B 0.9.8
STEP = 32  # pixels of a latent


class Ltx(DiffusionAdapter):
    """An Adapter for the distilled LTX-Video models."""

    max_tokens = 256  # as LTXConditionPipeline has it
    rescale = 0.0

    def assemble(self, parts: list[Path], dtype: "torch.dtype") -> Any:
        """From the hub: transformer and VAE in one file of Lightricks', the rest in a folder."""
        from diffusers import FlowMatchEulerDiscreteScheduler, LTXConditionPipeline

        *single, folder = parts
        return read_pipeline(
            LTXConditionPipeline,
            folder,
            dtype,
            # Never the folder's own: Lightricks/LTX-Video ships one that shifts and stretches the
            # sigmas of the schedule, and then insists on a `mu` that this pipeline does not pass.
            scheduler=FlowMatchEulerDiscreteScheduler(),
            **(self._from_file(single[0], folder, dtype) if single else {}),
        )

    def _from_file(self, single: Path, configs: Path, dtype: "torch.dtype") -> dict[str, Any]:
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
        """The whole schedule, or for a video to video from the noise on that its strength is."""
        if conditions.video is None:
            return self._schedule(request)
        noise = 1000 * strength_of(request)
        return [noise, *(t for t in self._schedule(request, over=True) if t < noise)]

    def _schedule(self, request: VideoRequest, *, over: bool = False) -> list[float]:
        return [*TIMESTEPS, *OVER[-1:]] if over else list(TIMESTEPS)

    def denoise(
        self, request: VideoRequest, conditions: Conditions, generator: "torch.Generator"
    ) -> "torch.Tensor":
        size = (request.width, request.height)
        timesteps = self._timesteps(request, conditions)
        begun = self._encoded(conditions, size)
        return self._pass(request, conditions, generator, size, timesteps, begun)

    def _pass(
        self,
        request: VideoRequest,
        conditions: Conditions,
        generator: "torch.Generator",
        size: tuple[int, int],
        timesteps: list[float],
        begun: "torch.Tensor | None",
    ) -> "torch.Tensor":
        if begun is not None:
            # The pipeline looks at latents only below full strength, which here is to say: leave
            # out the first step. So it is given one to leave out.
            timesteps = [1000.0, *timesteps]
        latents: torch.Tensor = self.pipe(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt or "",
            width=size[0],
            height=size[1],
            num_frames=request.num_frames,
            frame_rate=request.fps,
            timesteps=timesteps,
            latents=begun,
            denoise_strength=1.0 if begun is None else 0.999,
            conditions=_followed(request, conditions),
            # Any noise on what is followed would stay on it: it is never denoised.
            image_cond_noise_scale=0.0,
            guidance_scale=request.guidance_scale,
            guidance_rescale=self.rescale,
            max_sequence_length=self.max_tokens,
            generator=generator,
            output_type="latent",
        ).frames
        return latents

    def _encoded(self, conditions: Conditions, size: tuple[int, int]) -> "torch.Tensor | None":
        """The video that is to be made over, as latents of this size."""
        if conditions.video is None:
            return None
        width, height = size
        vae = self.pipe.vae
        film = self.pipe.video_processor.preprocess_video(pictures(conditions.video), height, width)
        film = film.to(self.pipe._execution_device, vae.dtype)
        latents: torch.Tensor = self.pipe._normalize_latents(
            vae.encode(film).latent_dist.mode(), vae.latents_mean, vae.latents_std
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
        # The second draw from the generator, after that of the latents.
        noise = randn_tensor(latents.shape, generator=generator, **like)
        scale = torch.tensor(DECODE_NOISE_SCALE, **like)
        latents = (1 - scale) * latents + scale * noise
        video: torch.Tensor = vae.decode(
            latents, torch.tensor([DECODE_TIMESTEP], **like), return_dict=False
        )[0]
        return video


class LtxDev(Ltx):
    """An Adapter for LTX-Video models that are not distilled."""

    # Brings the contrast back that guidance adds; the value is the authors'.
    rescale = 0.7

    def _schedule(self, request: VideoRequest, *, over: bool = False) -> list[float]:
        from diffusers.pipelines.ltx.pipeline_ltx_condition import linear_quadratic_schedule

        sigmas: list[float] = (
            linear_quadratic_schedule(request.num_inference_steps) * 1000
        ).tolist()
        return sigmas


class LtxUpscaled(Ltx):
    """An Adapter for distilled LTX-Video models with a latent upsampler, as the authors run 13B.

    The first pass is at two thirds of the size, and its latents are doubled: the second is at
    four thirds, and the clip is brought to its size at the end.
    """

    _upsampler: Any = None

    def assemble(self, parts: list[Path], dtype: "torch.dtype") -> Any:
        """From the hub: the upsampler in a folder of its own, the rest in another."""
        from diffusers import LTXLatentUpsamplePipeline
        from diffusers.pipelines.ltx.modeling_latent_upsampler import LTXLatentUpsamplerModel

        *single, folder = parts
        pipe = super().assemble([folder], dtype)
        # Whole, it decodes 1.8 times the pixels that are asked for.
        pipe.vae.enable_tiling()
        # A folder that somebody chose has it as one more part of the pipeline.
        where, part = (single[0], None) if single else (folder, "latent_upsampler")
        model = read_model(LTXLatentUpsamplerModel, where, part, dtype)
        self._upsampler = LTXLatentUpsamplePipeline(vae=pipe.vae, latent_upsampler=model)
        return pipe

    def unload(self) -> None:
        self._upsampler = None
        super().unload()

    def place(self, pipe: Any, device: "torch.device") -> None:
        super().place(pipe, device)
        self._upsampler.latent_upsampler.to(device)

    def steps(self, request: VideoRequest, conditions: Conditions) -> int:
        return super().steps(request, conditions) + len(self._second(request, conditions))

    def _second(self, request: VideoRequest, conditions: Conditions) -> list[float]:
        """Its noise levels: over a video it goes no further from that than was asked."""
        if conditions.video is None:
            return list(OVER)
        noise = min(OVER[0], 1000 * strength_of(request))
        return [noise, *(t for t in OVER if t < noise)]

    def denoise(
        self, request: VideoRequest, conditions: Conditions, generator: "torch.Generator"
    ) -> "torch.Tensor":
        small = (_two_thirds(request.width), _two_thirds(request.height))
        timesteps = self._timesteps(request, conditions)
        begun = self._encoded(conditions, small)
        latents = self._pass(request, conditions, generator, small, timesteps, begun)
        doubled = self._upsampler(
            latents=latents,
            adain_factor=1.0,
            tone_map_compression_ratio=TONE_MAP,
            output_type="latent",
        ).frames
        large = (2 * small[0], 2 * small[1])
        second = self._second(request, conditions)
        return self._pass(request, conditions, generator, large, second, doubled)


def _two_thirds(pixels: int) -> int:
    return max(STEP, pixels * 2 // 3 // STEP * STEP)


def _followed(request: VideoRequest, conditions: Conditions) -> list[Any] | None:
    """What the clip follows at its first frame, its last and on the way, as the pipeline has it."""
    from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition
    from PIL import Image

    followed = []
    if conditions.tail is not None:
        followed.append(LTXVideoCondition(video=pictures(conditions.tail), frame_index=0))
    if conditions.image is not None:
        followed.append(LTXVideoCondition(image=Image.fromarray(conditions.image), frame_index=0))
    for frame, picture in conditions.keyframes:
        image = Image.fromarray(picture)
        followed.append(LTXVideoCondition(image=image, frame_index=frame))
    if conditions.last_image is not None:
        image = Image.fromarray(conditions.last_image)
        followed.append(LTXVideoCondition(image=image, frame_index=request.num_frames - 1))
    return followed or None
