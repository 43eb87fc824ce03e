"""The encoder of sound, which the double only moves about."""

from pathlib import Path

import torch
from transformers import AutoFeatureExtractor


class Whisper(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.Linear(1, 1)


def get_audio_encoder(checkpoint_path, model_type="avatar-v1.0"):
    assert model_type == "avatar-v1.5"
    if not (Path(checkpoint_path) / "model.safetensors").is_file():
        raise OSError(f"no model.safetensors in {checkpoint_path}")
    return Whisper().eval()


def get_audio_feature_extractor(checkpoint_path, model_type="avatar-v1.0"):
    assert model_type == "avatar-v1.5"
    return AutoFeatureExtractor.from_pretrained(checkpoint_path)
