"""Wan 2.2 TI2V-5B with random weights: 48 latent channels, 16x16x4 compression, UMT5."""

from pathlib import Path
from typing import Any

from tests.tiny.text import characters, umt5


def build_wan(folder: Path) -> Path:
    """Write it into `folder`, the same weights every time."""
    import torch
    from diffusers import UniPCMultistepScheduler, WanPipeline

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = characters(512)
        pipe = WanPipeline(
            tokenizer=tokenizer,
            text_encoder=umt5(len(tokenizer)).eval(),
            vae=_vae().eval(),
            scheduler=UniPCMultistepScheduler(
                prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0
            ),
            transformer=_transformer().eval(),
            expand_timesteps=True,
        )
    pipe.save_pretrained(folder)
    return folder


def _transformer() -> Any:
    from diffusers import WanTransformer3DModel

    return WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=24,
        in_channels=48,
        out_channels=48,
        text_dim=32,
        freq_dim=64,
        ffn_dim=128,
        num_layers=2,
        rope_max_seq_len=1024,
    )


def _vae() -> Any:
    from diffusers import AutoencoderKLWan

    return AutoencoderKLWan(
        base_dim=8,
        decoder_base_dim=8,
        z_dim=48,
        dim_mult=[1, 1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=16,
        scale_factor_temporal=4,
        latents_mean=[0.05 * index for index in range(48)],
        latents_std=[0.5 + 0.02 * index for index in range(48)],
    )
