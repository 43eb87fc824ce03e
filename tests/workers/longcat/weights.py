"""Folders of tiny weights for the double: a real text encoder, tokenizer and feature extractor."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.tiny.text import characters, umt5

DOUBLE = Path(__file__).parent / "double"


def path_with_double() -> str:
    """Return a PYTHONPATH for child processes that find the double, too."""
    return os.pathsep.join([str(DOUBLE), *filter(None, [os.environ.get("PYTHONPATH")])])


@contextmanager
def on_path(folder: Path) -> Iterator[None]:
    """Let `longcat_video` be imported from this folder inside the block."""

    def forget() -> None:
        for name in [n for n in sys.modules if n.partition(".")[0] == "longcat_video"]:
            del sys.modules[name]

    with pytest.MonkeyPatch.context() as patch:
        forget()
        patch.syspath_prepend(folder)
        yield
    forget()


def build_double(folder: Path) -> Path:
    """Write one folder with all parts, for `longcat_video` of the double, which is imported."""
    import torch
    from longcat_video.modules.autoencoder_kl_wan import AutoencoderKLWan
    from longcat_video.modules.avatar.longcat_video_dit_avatar import (
        LongCatVideoAvatarTransformer3DModel,
    )
    from longcat_video.modules.scheduling_flow_match_euler_discrete import (
        FlowMatchEulerDiscreteScheduler,
    )
    from safetensors.torch import save_file
    from transformers import WhisperFeatureExtractor

    torch.manual_seed(0)
    tokenizer = characters(512)
    tokenizer.save_pretrained(folder / "tokenizer")
    umt5(len(tokenizer)).save_pretrained(folder / "text_encoder")
    AutoencoderKLWan().save_pretrained(folder / "vae")
    FlowMatchEulerDiscreteScheduler().save_pretrained(folder / "scheduler")
    dit = LongCatVideoAvatarTransformer3DModel()
    dit.save_pretrained(folder / "base_model")
    int8 = folder / "base_model_int8"
    dit.save_config(int8)
    half = {name: tensor / 2 for name, tensor in dit.state_dict().items()}
    save_file(half, int8 / "quantized_model-00001-of-00001.safetensors")
    (folder / "lora").mkdir()
    save_file({"up": torch.ones(1)}, folder / "lora" / "dmd_lora.safetensors")
    whisper = folder / "whisper-large-v3"
    WhisperFeatureExtractor(feature_size=128).save_pretrained(whisper)
    save_file({"encoder": torch.ones(1)}, whisper / "model.safetensors")
    return folder


def build_tiny(folder: Path) -> Path:
    """Write the same parts with the authors' own classes at a tiny size, random weights.

    Their package is on the path. Whisper has all its layers: the pipeline groups them by number.
    """
    import torch
    from longcat_video.modules.autoencoder_kl_wan import AutoencoderKLWan
    from longcat_video.modules.avatar.longcat_video_dit_avatar import (
        LongCatVideoAvatarTransformer3DModel,
    )
    from longcat_video.modules.quantization import quantize_model, save_quantized_state_dict
    from longcat_video.modules.scheduling_flow_match_euler_discrete import (
        FlowMatchEulerDiscreteScheduler,
    )
    from safetensors.torch import save_file
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    torch.manual_seed(0)
    tokenizer = characters(512)
    tokenizer.save_pretrained(folder / "tokenizer")
    umt5(len(tokenizer)).save_pretrained(folder / "text_encoder")
    AutoencoderKLWan(base_dim=4).save_pretrained(folder / "vae")
    FlowMatchEulerDiscreteScheduler().save_pretrained(folder / "scheduler")
    dit = LongCatVideoAvatarTransformer3DModel(
        hidden_size=64,
        depth=2,
        num_heads=4,
        caption_channels=32,
        adaln_tembed_dim=32,
        frequency_embedding_size=32,
        cp_split_hw=[1, 1],
        audio_block=5,
        audio_channel=16,
        intermediate_dim=16,
        output_dim=32,
        context_tokens=4,
    )
    for parameter in dit.parameters():  # the authors begin with zeros in the last layers
        torch.nn.init.normal_(parameter, std=0.05)
    dit.save_pretrained(folder / "base_model")
    (folder / "lora").mkdir()
    name = "lora___lorahyphen___blocks___lorahyphen___0___lorahyphen___attn___lorahyphen___proj"
    lora = {
        f"{name}.lora_down.weight": 0.1 * torch.randn(128, 64),
        f"{name}.lora_up.weight": 0.1 * torch.randn(64, 128),
        f"{name}.alpha_scale": torch.tensor(0.5),
    }
    save_file(lora, folder / "lora" / "dmd_lora.safetensors")
    save_quantized_state_dict(
        quantize_model(dit), str(folder / "base_model_int8"), str(folder / "base_model")
    )
    whisper = folder / "whisper-large-v3"
    WhisperFeatureExtractor(feature_size=128).save_pretrained(whisper)
    sizes = {
        "d_model": 16,
        "num_mel_bins": 128,
        "encoder_layers": 32,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 16,
        "decoder_ffn_dim": 16,
        "vocab_size": 64,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 1,
    }
    WhisperModel(WhisperConfig(**sizes)).save_pretrained(whisper)
    return folder
