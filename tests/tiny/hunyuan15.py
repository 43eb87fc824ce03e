"""HunyuanVideo 1.5 with random weights: 32 latent channels, 16x16x4 compression, Qwen and ByT5."""

from pathlib import Path
from typing import Any

from tests.tiny.text import after, t5

_CHAT = (
    "{% for message in messages %}{{ message['role'] }} {{ message['content'] }}"
    "{% if not loop.last %} {% endif %}{% endfor %}"
)


def build_hunyuan15(folder: Path) -> Path:
    """Write it into `folder`, the same weights every time."""
    import torch
    from diffusers import (
        ClassifierFreeGuidance,
        FlowMatchEulerDiscreteScheduler,
        HunyuanVideo15Pipeline,
    )
    from transformers import ByT5Tokenizer

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = _tokenizer()
        pipe = HunyuanVideo15Pipeline(
            text_encoder=_qwen(len(tokenizer)).eval(),
            tokenizer=tokenizer,
            transformer=_transformer().eval(),
            vae=_vae().eval(),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
            text_encoder_2=t5(384).eval(),
            tokenizer_2=ByT5Tokenizer(),
            guider=ClassifierFreeGuidance(guidance_scale=6.0),
        )
    pipe.save_pretrained(folder)
    return folder


def _tokenizer() -> Any:
    """What stands before the prompt takes 108 tokens, as with Qwen's."""
    import inspect

    from diffusers import HunyuanVideo15Pipeline

    signature = inspect.signature(HunyuanVideo15Pipeline._get_mllm_prompt_embeds)
    system = signature.parameters["system_message"].default
    tokenizer = after(f"system {system} user", 108, 1108)
    tokenizer.chat_template = _CHAT
    return tokenizer


def _qwen(vocabulary: int) -> Any:
    from transformers import Qwen2_5_VLTextConfig, Qwen2_5_VLTextModel

    return Qwen2_5_VLTextModel(
        Qwen2_5_VLTextConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "mrope_section": [1, 1, 2],
            },
            pad_token_id=0,
            bos_token_id=2,
            eos_token_id=1,
        )
    )


def _transformer() -> Any:
    from diffusers import HunyuanVideo15Transformer3DModel

    return HunyuanVideo15Transformer3DModel(
        num_attention_heads=1,
        attention_head_dim=16,
        num_layers=2,
        num_refiner_layers=1,
        text_embed_dim=32,
        text_embed_2_dim=32,
        image_embed_dim=16,
        rope_axes_dim=(4, 6, 6),
        target_size=480,
        task_type="t2v",
    )


def _vae() -> Any:
    from diffusers import AutoencoderKLHunyuanVideo15

    return AutoencoderKLHunyuanVideo15(block_out_channels=(8, 8, 16, 32, 64), layers_per_block=1)
