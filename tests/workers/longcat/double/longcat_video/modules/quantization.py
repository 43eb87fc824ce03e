"""Weights in eight bits have a folder and a loader of their own."""

import json
from pathlib import Path

from safetensors.torch import load_file

from longcat_video.modules.avatar.longcat_video_dit_avatar import (
    LongCatVideoAvatarTransformer3DModel,
)


def load_quantized_dit(checkpoint_dir, subfolder="base_model_int8", **kwargs):
    folder = Path(checkpoint_dir, subfolder)
    config = json.loads((folder / "config.json").read_text())
    names = [name for name in config if not name.startswith("_")]
    model = LongCatVideoAvatarTransformer3DModel(**{name: config[name] for name in names} | kwargs)
    model.load_state_dict(load_file(folder / "quantized_model-00001-of-00001.safetensors"))
    return model.eval()
