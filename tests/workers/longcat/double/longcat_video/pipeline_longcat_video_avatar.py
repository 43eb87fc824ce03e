"""The pipeline: the authors' methods, arguments and checks, and a step of the scheduler for each
step of theirs."""

import numpy as np
import torch
from diffusers.video_processor import VideoProcessor
from PIL import Image
from tqdm import tqdm

from longcat_video.utils.bukcet_config import get_bucket_config

CHANNELS = 1280


class LongCatVideoAvatarPipeline:
    def __init__(
        self,
        tokenizer,
        text_encoder,
        vae,
        scheduler,
        dit,
        audio_encoder=None,
        audio_feature_extractor=None,
        model_type="avatar-v1.0",
    ):
        assert model_type == "avatar-v1.5"
        self.tokenizer, self.text_encoder = tokenizer, text_encoder
        self.vae, self.scheduler, self.dit = vae, scheduler, dit
        self.audio_encoder = audio_encoder
        self.audio_feature_extractor = audio_feature_extractor
        self.device = "cuda"
        self.vae_scale_factor_temporal = vae.config.scale_factor_temporal
        self.vae_scale_factor_spatial = vae.config.scale_factor_spatial
        self.video_processor = VideoProcessor(vae_scale_factor=self.vae_scale_factor_spatial)
        self.kv_cache_dict = None
        self.calls = []  # the double's own: a name and the arguments of each

    def encode_prompt(
        self,
        prompt,
        negative_prompt=None,
        do_classifier_free_guidance=True,
        num_videos_per_prompt=1,
        max_sequence_length=512,
        device=None,
        dtype=None,
    ):
        assert not do_classifier_free_guidance, "a distilled model has no guidance"
        assert self.text_encoder.device == device
        self.calls.append(("encode_prompt", {"prompt": prompt}))
        tokens = self.tokenizer(
            [prompt],
            padding="max_length",
            max_length=max_sequence_length,
            truncation=True,
            return_tensors="pt",
        ).to(device)
        with torch.no_grad():
            encoded = self.text_encoder(**tokens).last_hidden_state
        return encoded[:, None].to(dtype), tokens.attention_mask, None, None

    def get_condition_shape(self, condition, resolution, scale_factor_spatial=32):
        sizes = get_bucket_config(resolution, scale_factor_spatial=scale_factor_spatial)
        shape = condition.height / condition.width
        return sizes[min(sizes, key=lambda key: abs(float(key) - shape))][0]

    def get_audio_embedding(
        self, speech_array, fps=32, device="cpu", sample_rate=16000, model_type="avatar-v1.0"
    ):
        assert model_type == "avatar-v1.5"
        assert isinstance(speech_array, np.ndarray)
        assert speech_array.ndim == 1
        if len(speech_array) < 0.4 * sample_rate:
            raise ValueError("Audio must have length greater than the block size.")
        assert next(self.audio_encoder.encoder.parameters()).device == torch.device(device)
        self.calls.append(("get_audio_embedding", {"samples": len(speech_array), "fps": fps}))
        frames = int(len(speech_array) / sample_rate * fps)
        level = np.abs(speech_array[: frames * sample_rate // fps]).reshape(frames, -1).mean(1)
        return torch.from_numpy(level)[:, None, None].expand(-1, 5, CHANNELS).to(device)

    @torch.no_grad()
    def generate_at2v(
        self,
        prompt=None,
        negative_prompt=None,
        height=480,
        width=832,
        num_frames=93,
        num_inference_steps=50,
        use_distill=False,
        text_guidance_scale=4.0,
        audio_guidance_scale=4.0,
        num_videos_per_prompt=1,
        generator=None,
        latents=None,
        output_type="np",
        attention_kwargs=None,
        max_sequence_length=512,
        audio_emb=None,
    ):
        self._record("at2v", locals())
        self._check(prompt, height, width, num_frames, use_distill, audio_emb)
        self._check_guidance(text_guidance_scale, audio_guidance_scale)
        latents = self._noise(height, width, num_frames, generator)
        latents = self._denoise(latents, prompt, num_inference_steps, audio_emb, 0)
        return self._output(latents, output_type)

    @torch.no_grad()
    def generate_ai2v(
        self,
        image,
        prompt=None,
        negative_prompt=None,
        resolution="480p",
        num_frames=93,
        num_inference_steps=50,
        use_distill=False,
        text_guidance_scale=4.0,
        audio_guidance_scale=4.0,
        num_videos_per_prompt=1,
        generator=None,
        latents=None,
        output_type="np",
        attention_kwargs=None,
        max_sequence_length=512,
        audio_emb=None,
        ref_target_masks=None,
        resize_mode="crop",
    ):
        self._record("ai2v", locals())
        height, width = self.get_condition_shape(image, resolution, scale_factor_spatial=16)
        self._check(prompt, height, width, num_frames, use_distill, audio_emb)
        self._check_guidance(text_guidance_scale, audio_guidance_scale)
        pixels = self.video_processor.preprocess(image, height=height, width=width)
        pixels = pixels.to(self.device, self.dit.dtype)
        latents = self._noise(height, width, num_frames, generator)
        latents[:, :, :1] = self.vae.encode(pixels[:, :, None]).latent_dist.mode()
        latents = self._denoise(latents, prompt, num_inference_steps, audio_emb, 1)
        return self._output(latents, output_type)

    @torch.no_grad()
    def generate_avc(
        self,
        video,
        video_latent,
        prompt=None,
        negative_prompt=None,
        height=480,
        width=832,
        num_frames=93,
        num_cond_frames=13,
        num_inference_steps=50,
        use_distill=False,
        text_guidance_scale=4.0,
        audio_guidance_scale=4.0,
        num_videos_per_prompt=1,
        generator=None,
        latents=None,
        output_type="np",
        attention_kwargs=None,
        max_sequence_length=512,
        use_kv_cache=True,
        offload_kv_cache=False,
        enhance_hf=True,
        audio_emb=None,
        ref_latent=None,
        ref_img_index=None,
        mask_frame_range=None,
        ref_target_masks=None,
        resize_mode="crop",
    ):
        assert not (use_distill and enhance_hf), "use_distill and enhance_hf cannot both be True"
        self._record("avc", locals())
        self._check(prompt, height, width, num_frames, use_distill, audio_emb)
        self._check_guidance(text_guidance_scale, audio_guidance_scale)
        assert ref_latent is not None, "the authors' code fails on an unbound num_ref_latents"
        cond = 1 + (num_cond_frames - 1) // self.vae_scale_factor_temporal
        noise = self._noise(height, width, num_frames, generator)
        assert ref_latent.shape == noise[:, :, :1].shape
        assert video_latent[:, :, -cond:].shape == noise[:, :, :cond].shape
        assert len(video) >= num_cond_frames
        for frame in video:  # the authors' code would resize others
            assert isinstance(frame, Image.Image)
            assert frame.size == (width, height)
        pixels = torch.stack([self.video_processor.preprocess(each)[0] for each in video], dim=1)
        encoded = self.vae.encode(pixels[None, :, -num_cond_frames:].to(self.device))
        tail = encoded.latent_dist.mode()
        known = torch.cat([ref_latent, tail], dim=2)
        empty = known.new_zeros(1, 1, max_sequence_length, self.dit.config.caption_channels)
        _, self.kv_cache_dict = self.dit(
            hidden_states=known,
            timestep=known.new_zeros(1, known.shape[2]),
            encoder_hidden_states=empty,
            num_cond_latents=known.shape[2],
            return_kv=True,
            skip_crs_attn=True,
            offload_kv_cache=offload_kv_cache,
            audio_embs=audio_emb,
            num_ref_latents=1,
            ref_img_index=ref_img_index,
        )
        new = self._denoise(noise[:, :, cond:], prompt, num_inference_steps, audio_emb, 0)
        return self._output(torch.cat([tail, new], dim=2), output_type)

    def _clear_cache(self):
        self.kv_cache_dict = None

    def _record(self, name, given):
        self.calls.append((name, {k: v for k, v in given.items() if k != "self"}))

    def _check(self, prompt, height, width, num_frames, use_distill, audio_emb):
        assert isinstance(prompt, str)
        if height % 16 or width % 16:
            raise ValueError("`height and width` have to be divisible by 16")
        assert num_frames % self.vae_scale_factor_temporal == 1, "it would be rounded"
        assert use_distill, "the card is of the distilled model"
        assert audio_emb.shape == (1, num_frames, 5, 5, CHANNELS)
        assert audio_emb.device == self.device
        assert self.dit.active_loras, "the distillation is not enabled"

    def _check_guidance(self, *scales):
        assert scales == (1.0, 1.0), "guidance needs a negative prompt"

    def _noise(self, height, width, num_frames, generator):
        size = ((num_frames - 1) // 4 + 1, height // 8, width // 8)
        shape = (1, self.dit.config.in_channels, *size)
        return torch.randn(shape, generator=generator, device=self.device)

    def _denoise(self, latents, prompt, num_inference_steps, audio_emb, num_cond_latents):
        """Every step changes the latents behind the first `num_cond_latents`."""
        dtype = self.dit.dtype
        embeds, mask, _, _ = self.encode_prompt(
            prompt=prompt,
            negative_prompt=None,
            do_classifier_free_guidance=False,
            num_videos_per_prompt=1,
            max_sequence_length=512,
            dtype=dtype,
            device=self.device,
        )
        steps = torch.arange(num_inference_steps, 0, -1) / num_inference_steps
        self.scheduler.set_timesteps(num_inference_steps, sigmas=steps, device=self.device)
        for t in tqdm(self.scheduler.timesteps):
            flow = -self.dit(
                hidden_states=latents.to(dtype),
                timestep=t.expand(1, latents.shape[2]),
                encoder_hidden_states=embeds,
                encoder_attention_mask=mask,
                num_cond_latents=num_cond_latents,
                kv_cache_dict=self.kv_cache_dict or {},
                audio_embs=audio_emb,
            )
            own = slice(num_cond_latents, None)
            latents[:, :, own] = self.scheduler.step(
                flow[:, :, own], t, latents[:, :, own], return_dict=False
            )[0]
        return latents

    def _output(self, latents, output_type):
        assert output_type == "both"
        video = self.vae.decode(latents.to(self.vae.dtype), return_dict=False)[0]
        return self.video_processor.postprocess_video(video), latents.clone()
