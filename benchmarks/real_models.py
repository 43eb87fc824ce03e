"""Pipelines with the real models' shapes and random weights.

Nothing is fetched: sizes are those of the published configurations, weights are generated on the
device, and the tokenizer has one token per character. Such a model generates noise in the time
that the real one takes.
"""

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

_T5 = {
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
}
_LTX = {
    "in_channels": 128,
    "out_channels": 128,
    "num_attention_heads": 32,
    "caption_channels": 4096,
}
LTX_2B = {**_LTX, "attention_head_dim": 64, "cross_attention_dim": 2048, "num_layers": 28}
LTX_13B = {**_LTX, "attention_head_dim": 128, "cross_attention_dim": 4096, "num_layers": 48}
LTX_VAE = {
    "latent_channels": 128,
    "block_out_channels": (128, 256, 512, 1024, 2048),
    "down_block_types": ("LTXVideo095DownBlock3D",) * 4,
    "decoder_block_out_channels": (256, 512, 1024),
    "layers_per_block": (4, 6, 6, 2, 2),
    "decoder_layers_per_block": (5, 5, 5, 5),
    "spatio_temporal_scaling": (True,) * 4,
    "decoder_spatio_temporal_scaling": (True,) * 3,
    "decoder_inject_noise": (False,) * 4,
    "downsample_type": ("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
    "upsample_residual": (True,) * 3,
    "upsample_factor": (2,) * 3,
    "timestep_conditioning": True,
    "patch_size": 4,
    "patch_size_t": 1,
    "encoder_causal": True,
    "decoder_causal": False,
    "spatial_compression_ratio": 32,
    "temporal_compression_ratio": 8,
}
LTX_UPSAMPLER = {"in_channels": 128, "mid_channels": 512, "num_blocks_per_stage": 4}
WAN_5B = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 24,
    "attention_head_dim": 128,
    "in_channels": 48,
    "out_channels": 48,
    "text_dim": 4096,
    "freq_dim": 256,
    "ffn_dim": 14336,
    "num_layers": 30,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
}
WAN_VAE = {
    "base_dim": 160,
    "decoder_base_dim": 256,
    "z_dim": 48,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "temperal_downsample": [False, True, True],
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_spatial": 16,
    "scale_factor_temporal": 4,
    "latents_mean": [0.0] * 48,
    "latents_std": [1.0] * 48,
}


def ltx(transformer: dict[str, Any], dtype: Any, device: Any) -> Any:
    from diffusers import (
        AutoencoderKLLTXVideo,
        FlowMatchEulerDiscreteScheduler,
        LTXConditionPipeline,
        LTXVideoTransformer3DModel,
    )
    from transformers import T5Config, T5EncoderModel

    from tests.tiny.text import characters

    with _initialized_on(dtype, device):
        return LTXConditionPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(),
            vae=AutoencoderKLLTXVideo(**LTX_VAE).eval(),
            text_encoder=T5EncoderModel(T5Config(vocab_size=32128, **_T5)).eval(),
            tokenizer=characters(256),
            transformer=LTXVideoTransformer3DModel(**transformer).eval(),
        )


def ltx_upsampler(vae: Any, dtype: Any, device: Any) -> Any:
    from diffusers import LTXLatentUpsamplePipeline
    from diffusers.pipelines.ltx.modeling_latent_upsampler import LTXLatentUpsamplerModel

    with _initialized_on(dtype, device):
        model = LTXLatentUpsamplerModel(**LTX_UPSAMPLER).eval()
    return LTXLatentUpsamplePipeline(vae=vae, latent_upsampler=model)


def wan(scheduler: Any, dtype: Any, device: Any) -> Any:
    from diffusers import AutoencoderKLWan, WanPipeline, WanTransformer3DModel
    from transformers import UMT5Config, UMT5EncoderModel

    from tests.tiny.text import characters

    with _initialized_on(dtype, device):
        return WanPipeline(
            tokenizer=characters(512),
            text_encoder=UMT5EncoderModel(UMT5Config(vocab_size=256384, **_T5)).eval(),
            vae=AutoencoderKLWan(**WAN_VAE).eval(),
            scheduler=scheduler,
            transformer=WanTransformer3DModel(**WAN_5B).eval(),
            expand_timesteps=True,
        )


@contextmanager
def _initialized_on(dtype: Any, device: Any):
    """Create models inside the block on the device and in this precision."""
    import torch

    default_dtype = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.random.fork_rng(), torch.device(device):
            torch.manual_seed(0)
            yield
    finally:
        torch.set_default_dtype(default_dtype)


# Replaces reading the weights: builds a pipeline from the adapter, dtype and device.
Assemble = Callable[[Any, Any, Any], Any]


def assemble_ltx_2b(_adapter: Any, dtype: Any, device: Any) -> Any:
    return ltx(LTX_2B, dtype, device)


def assemble_ltx_13b(adapter: Any, dtype: Any, device: Any) -> Any:
    pipe = ltx(LTX_13B, dtype, device)
    pipe.vae.enable_tiling()
    adapter._upsampler = ltx_upsampler(pipe.vae, dtype, device)
    return pipe


def assemble_wan_fast(_adapter: Any, dtype: Any, device: Any) -> Any:
    from service.workers.adapters.distilled import distilled_scheduler
    from service.workers.adapters.wan import SIGMAS

    return wan(distilled_scheduler(SIGMAS), dtype, device)


ASSEMBLE: dict[str, Assemble] = {
    "ltx-2b": assemble_ltx_2b,
    "ltx-13b": assemble_ltx_13b,
    "wan2.2-5b-fast": assemble_wan_fast,
}
