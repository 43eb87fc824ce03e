"""HunyuanVideo with random weights: 16 latent channels, 8x8x4 compression, LLaMA and CLIP."""

from pathlib import Path
from typing import Any

from tests.tiny.text import after


def build_hunyuan(folder: Path) -> Path:
    """Write it into `folder`, the same weights every time."""
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, HunyuanVideoPipeline
    from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE

    opening = DEFAULT_PROMPT_TEMPLATE["template"].partition("{}")[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = after(opening, DEFAULT_PROMPT_TEMPLATE["crop_start"], 351)
        pipe = HunyuanVideoPipeline(
            text_encoder=_llama(len(tokenizer)).eval(),
            tokenizer=tokenizer,
            transformer=_transformer().eval(),
            vae=_vae().eval(),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
            text_encoder_2=_clip().eval(),
            tokenizer_2=_clip_tokenizer(),
        )
    pipe.save_pretrained(folder)
    return folder


def _llama(vocabulary: int) -> Any:
    from transformers import LlamaConfig, LlamaModel

    return LlamaModel(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            pad_token_id=0,
            bos_token_id=2,
            eos_token_id=1,
        )
    )


def _clip_tokenizer() -> Any:
    """One token a character, so that it needs no merges."""
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(33, 127)]
    tokens = [
        "<|endoftext|>",
        "<|startoftext|>",
        *letters,
        *(f"{letter}</w>" for letter in letters),
    ]
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(tokens)}, merges=[], model_max_length=77
    )


def _clip() -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=200,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=77,
            bos_token_id=1,
            eos_token_id=0,
            pad_token_id=0,
        )
    )


def _transformer() -> Any:
    from diffusers import HunyuanVideoTransformer3DModel

    return HunyuanVideoTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        guidance_embeds=True,
        text_embed_dim=32,
        pooled_projection_dim=16,
        rope_axes_dim=(4, 6, 6),
    )


def _vae() -> Any:
    from diffusers import AutoencoderKLHunyuanVideo

    return AutoencoderKLHunyuanVideo(
        block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4
    )
