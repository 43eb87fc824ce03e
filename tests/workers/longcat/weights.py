"""Folders of tiny weights for the double: a real text encoder, tokenizer and feature extractor."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.tiny.text import characters, umt5

DOUBLE = Path(__file__).parent / "double"
LAYERS = 33


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
