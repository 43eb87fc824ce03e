"""Mochi 1 with random weights: 12 latent channels, 8x8x6 compression."""

from pathlib import Path
from typing import Any

from tests.tiny.text import characters, t5


def build_mochi(folder: Path) -> Path:
    """Write it into `folder`, the same weights every time."""
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, MochiPipeline

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = characters(256)
        pipe = MochiPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(invert_sigmas=True),
            vae=_vae().eval(),
            text_encoder=t5(len(tokenizer)).eval(),
            tokenizer=tokenizer,
            transformer=_transformer().eval(),
        )
    pipe.save_pretrained(folder)
    return folder


def _transformer() -> Any:
    from diffusers import MochiTransformer3DModel

    return MochiTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        pooled_projection_dim=16,
        text_embed_dim=32,
        time_embed_dim=16,
    )


def _vae() -> Any:
    from diffusers import AutoencoderKLMochi

    return AutoencoderKLMochi(
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        layers_per_block=(1, 1, 1, 1, 1),
    )
