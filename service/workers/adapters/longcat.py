"""LongCat-Video-Avatar 1.5 on its authors' pipeline: a person of a photo or a prompt speaks.

Each clip has 93 frames. The first is made from the photo, or the prompt alone, and each later one
from the last 13 frames before it and the first latent of the first clip, its anchor.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from service.domain.attempt import AttemptFailed, FailureKind, Profile
from service.domain.avatar import FPS, SPEECH_RATE, AvatarRequest
from service.domain.models.card import ModelCard
from service.domain.models.cards.longcat import INT8
from service.domain.models.tuning import DEFAULT_TUNING, Tuning
from service.workers.adapters.base import (
    Clip,
    Conditions,
    Frame,
    OnStep,
    Speech,
    audio_of_segment,
)
from service.workers.adapters.checks import check_tokens
from service.workers.adapters.steps import Steps
from service.workers.adapters.tensors import to_images
from service.workers.device import (
    best_dtype,
    find_device,
    fits,
    gpu_name,
    memory_of,
    out_of_memory,
    release_memory,
)
from service.workers.longcat import pipeline
from service.workers.longcat.attention import provide_attention
from service.workers.longcat.conditioning import (
    pad_speech,
    seed_of_clip,
    window_of,
)
from service.workers.tuning.embeddings import EmbeddingCache
from service.workers.weights import find_weights

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

_MAX_TOKENS = 512  # of a prompt; the pipeline would cut off the rest
# The authors' values: where the anchor is among the latents of a clip, and how many around it do
# not attend to it, lest its gesture be repeated.
_ANCHOR_INDEX, _MASKED = 10, 3
_LATENT_FRAMES = 4  # frames of a latent, after the first


class Longcat:
    """An Adapter for LongCat-Video-Avatar 1.5, distilled to eight steps without guidance."""

    def __init__(
        self, card: ModelCard, weights: Path | None = None, tuning: Tuning = DEFAULT_TUNING
    ) -> None:
        self.card = card
        self.gpu: str | None = None
        self._weights = weights
        self._tuning = tuning
        self._embeddings = EmbeddingCache(tuning.embeddings_bytes)
        self._pipe: Any = None
        self._attention = ""
        self._offload_cache = False
        # The last voice and its embedding: all clips of a video hear parts of it.
        self._voice: tuple[Speech, torch.Tensor] | None = None

    @property
    def _is_int8(self) -> bool:
        return INT8 in self.card.weights[0].files

    @property
    def made_with(self) -> dict[str, str]:
        if self._pipe is None:
            return {}
        quantize = "int8-weights" if self._is_int8 else "off"
        if self._tuning.quantize not in ("off", "int8-weights"):
            quantize += f": longcat has no {self._tuning.quantize}"
        return {
            "dtype": str(self._pipe.dit.dtype).removeprefix("torch."),
            "compile": "off: longcat runs its authors' code",
            "attention": self._attention,
            "quantize": quantize,
            "lora_multiplier": f"{self._tuning.lora_multiplier:g}",
            "embeddings": self._embeddings.last,
            "memory": "attention cache on the CPU" if self._offload_cache else "whole",
        }

    def load(self, profile: Profile = Profile.FULL) -> None:
        """Load the model; in the small profile the keys and values of a clip's first frames, a
        tenth of the memory and more, are kept on the CPU."""
        device = find_device()
        if self._pipe is None:
            try:
                with out_of_memory(f"{self.card.title} does not fit into this device's memory"):
                    self._pipe = self._read(device)
            except AttemptFailed:
                release_memory()
                raise
            self.gpu = gpu_name(device)
            log.info(
                "model loaded", extra={"model": self.card.name, "gpu": self.gpu, **self.made_with}
            )
        is_small = device.type == "cuda" and not fits(self.card, memory_of(device))
        self._offload_cache = profile is Profile.SMALL or is_small

    def _read(self, device: "torch.device") -> Any:
        parts = find_weights(self.card, self._weights)
        pipe = pipeline.read_pipeline(
            parts[0],
            parts[-1],
            best_dtype(device),
            int8=self._is_int8,
            lora_multiplier=self._tuning.lora_multiplier,
        )
        self._attention = provide_attention(pipe.dit)
        pipeline.place(pipe, device)
        self._embeddings.attach(pipe)
        return pipe

    def generate(self, request: AvatarRequest, conditions: Conditions, on_step: OnStep) -> Clip:
        audio, shape = conditions.audio, request.shape
        assert audio is not None, "an avatar has a voice"
        anchors = [] if conditions.anchor is None else [conditions.anchor]

        def frames() -> Iterator[Frame]:
            video, latents = self._render(request, conditions, on_step)
            if not anchors:
                anchors.append(latents[:, :, :1].float().cpu().numpy())
            for frame in video[: shape.num_frames]:
                # In C's order: the pipeline returns a view with the colours in front.
                yield np.rint(frame * 255).astype(np.uint8, order="C")

        sound = audio_of_segment(audio, conditions.start, shape.num_frames, request.fps)
        return Clip(frames(), sound, anchor=lambda: anchors[0])

    def _render(
        self, request: AvatarRequest, conditions: Conditions, on_step: OnStep
    ) -> tuple[NDArray[np.float32], "torch.Tensor"]:
        """Return a whole clip, (frames, height, width, 3) from 0 to 1, and its latents."""
        self._check(request)
        pipe = self._pipe
        steps = Steps(request.num_inference_steps, on_step, pipe.device)
        size = f"{request.width}x{request.height}"
        with out_of_memory(f"{size} does not fit into the memory of this device; ask for less"):
            try:
                with steps.watch(pipe.scheduler):
                    video, latents = self._call(request, conditions)
            finally:
                pipe._clear_cache()  # gigabytes, also after a step that raised
        steps.end_decoding()
        return video[0], latents

    def _check(self, request: AvatarRequest) -> None:
        from diffusers.pipelines.wan.pipeline_wan import prompt_clean

        tokens = len(self._pipe.tokenizer(prompt_clean(request.prompt)).input_ids)
        check_tokens(self.card, "prompt", tokens, _MAX_TOKENS)

    def _call(self, request: AvatarRequest, conditions: Conditions) -> tuple[Any, "torch.Tensor"]:
        import torch

        pipe = self._pipe
        seed = seed_of_clip(request.seed, conditions.start)
        common = {
            "prompt": request.prompt,
            "num_frames": self._clip_frames,
            "num_inference_steps": request.num_inference_steps,
            "use_distill": True,
            "text_guidance_scale": 1.0,
            "audio_guidance_scale": 1.0,
            "generator": torch.Generator(pipe.device).manual_seed(seed),
            "output_type": "both",
            "audio_emb": self._heard(request, conditions),
        }
        size = {"width": request.width, "height": request.height}
        result: tuple[Any, torch.Tensor]
        if conditions.tail is not None:
            result = pipe.generate_avc(**common, **size, **self._continuation(conditions))
        elif conditions.image is not None:
            image = to_images(conditions.image[None])[0]
            result = pipe.generate_ai2v(
                image=image, resolution=self._resolution(request, image), **common
            )
        else:
            result = pipe.generate_at2v(**common, **size)
        return result

    def _continuation(self, conditions: Conditions) -> dict[str, Any]:
        """Return the arguments for a clip that continues another."""
        import torch

        tail, anchor = conditions.tail, conditions.anchor
        assert tail is not None
        assert anchor is not None, "every clip has one"
        reference = torch.from_numpy(anchor).to(self._pipe.device)
        latents = 1 + (len(tail) - 1) // _LATENT_FRAMES
        return {
            "video": to_images(tail),
            # Their place is taken by the encoded frames.
            "video_latent": torch.zeros_like(reference).expand(-1, -1, latents, -1, -1),
            "num_cond_frames": len(tail),
            "offload_kv_cache": self._offload_cache,
            "enhance_hf": False,  # is not for distilled models
            "ref_latent": reference,
            "ref_img_index": _ANCHOR_INDEX,
            "mask_frame_range": _MASKED,
        }

    def _resolution(self, request: AvatarRequest, image: Any) -> str:
        """Return the name of the size. The pipeline chooses the size by the shape of the image:
        raise AttemptFailed (internal) if that of another commit chooses another."""
        size = (request.width, request.height)
        name = next(r.name for r in self.card.resolutions if size in r.sizes)
        pipe = self._pipe
        height, width = pipe.get_condition_shape(
            image, name, scale_factor_spatial=2 * pipe.vae_scale_factor_spatial
        )
        if (width, height) != size:
            message = f"the authors' code makes {width}x{height} instead of {size[0]}x{size[1]}"
            raise AttemptFailed(FailureKind.INTERNAL, "code_unavailable", message)
        return name

    def _heard(self, request: AvatarRequest, conditions: Conditions) -> "torch.Tensor":
        """Return the embeddings of the voice around each frame of the clip."""
        speech = conditions.speech
        assert speech is not None, "an avatar has a voice"
        if self._voice is None or self._voice[0] is not speech:
            clips = self.card.count_segments(conditions.video_frames or request.shape.num_frames)
            frames = self._clip_frames + (clips - 1) * (self._clip_frames - self.card.overlap)
            samples = pad_speech(speech, frames * SPEECH_RATE // FPS)
            self._voice = (speech, pipeline.embed_speech(self._pipe, samples, FPS, SPEECH_RATE))
        return window_of(self._voice[1], conditions.start, self._clip_frames, self._pipe.device)

    @property
    def _clip_frames(self) -> int:
        assert self.card.clip_frames is not None, "its card says so"
        return self.card.clip_frames
