"""LTX-Video with random weights: 128 latent channels, 32x32x8 compression, a timed decoder."""

import re
from pathlib import Path
from typing import Any

from tests.tiny.text import characters, t5


def build_ltx(folder: Path) -> Path:
    """Write LTX-Video 0.9.5 with random weights into `folder`, the same weights every time."""
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, LTXConditionPipeline

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # 128 as in the repositories of Lightricks, although the model reads 256.
        tokenizer = characters(128)
        pipe = LTXConditionPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(),
            vae=_ltx_vae().eval(),
            text_encoder=t5(len(tokenizer)).eval(),
            tokenizer=tokenizer,
            transformer=_ltx_transformer().eval(),
        )
    pipe.save_pretrained(folder)
    return folder


def build_ltx_upscaled(folder: Path) -> Path:
    """The same with a latent upsampler beside it, as a chosen folder of 13B has it."""
    import torch

    build_ltx(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        _ltx_upsampler().save_pretrained(folder / "latent_upsampler")
    return folder


def _ltx_upsampler() -> Any:
    from diffusers.pipelines.ltx.modeling_latent_upsampler import LTXLatentUpsamplerModel

    return LTXLatentUpsamplerModel(in_channels=128, mid_channels=32, num_blocks_per_stage=1)


def write_original_ltx(folder: Path, file: Path) -> Path:
    """The transformer and VAE of `folder` as Lightricks ships them: one file, their own names."""
    from safetensors.torch import load_file, save_file

    weights = {
        _original(part, name): tensor
        for part in ("transformer", "vae")
        for name, tensor in load_file(folder / part / "diffusion_pytorch_model.safetensors").items()
    }
    save_file(weights, file)
    return file


def _original(part: str, name: str) -> str:
    """Lightricks' name of a tensor: the inverse of what diffusers does to read its files."""
    if part == "transformer":
        name = re.sub(r"norm_([qk])", r"\1_norm", name)
        name = name.replace("proj_in", "patchify_proj").replace("time_embed.", "adaln_single.")
        return f"model.diffusion_model.{name}"
    name = re.sub(r"(up|down)_blocks\.(\d)\.((?:up|down)samplers\.0\.)?", _numbered_through, name)
    name = re.sub(r"^decoder\.(time_embedder|scale_shift_table)", r"decoder.last_\1", name)
    name = re.sub(r"^latents_(mean|std)", r"per_channel_statistics.\1-of-means", name)
    return "vae." + name.replace("mid_block", "up_blocks.0").replace("resnets", "res_blocks")


def _numbered_through(match: re.Match[str]) -> str:
    """Lightricks counts a block and its sampler as two; the decoder's middle is its number 0."""
    way, block, sampler = match[1], int(match[2]), match[3]
    after = 1 if sampler else (2 if way == "up" else 0)
    return f"{way}_blocks.{2 * block + after}."


def _ltx_transformer() -> Any:
    from diffusers import LTXVideoTransformer3DModel

    return LTXVideoTransformer3DModel(
        in_channels=128,
        out_channels=128,
        num_attention_heads=4,
        attention_head_dim=16,
        cross_attention_dim=64,
        num_layers=2,
        caption_channels=32,
    )


def _ltx_vae() -> Any:
    from diffusers import AutoencoderKLLTXVideo

    # The encoder ends on 2048 channels as the real one does: by that number alone diffusers tells
    # the generation of a single-file checkpoint. A downsampler may widen at most by its stride,
    # which gives the steps before it; blocks without layers keep that cheap (40 MB).
    vae = AutoencoderKLLTXVideo(
        latent_channels=128,
        block_out_channels=(16, 16, 32, 256, 2048),
        down_block_types=("LTXVideo095DownBlock3D",) * 4,
        layers_per_block=(1, 1, 1, 0, 0),
        spatio_temporal_scaling=(True,) * 4,
        downsample_type=("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
        decoder_block_out_channels=(8, 16, 32),
        decoder_layers_per_block=(1, 1, 1, 1),
        decoder_spatio_temporal_scaling=(True,) * 3,
        decoder_inject_noise=(False,) * 4,
        upsample_residual=(True,) * 3,
        upsample_factor=(2,) * 3,
        timestep_conditioning=True,
        encoder_causal=True,
        decoder_causal=False,
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    )
    vae.latents_mean.normal_(std=0.1)
    vae.latents_std.uniform_(0.5, 1.5)
    return vae
