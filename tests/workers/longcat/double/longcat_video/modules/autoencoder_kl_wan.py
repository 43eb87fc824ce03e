"""A VAE without weights: eight pixels and four frames to a latent, by averages."""

from types import SimpleNamespace

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch.nn.functional import avg_pool3d

CHANNELS = 16


class AutoencoderKLWan(ModelMixin, ConfigMixin):
    @register_to_config
    def __init__(self, z_dim=CHANNELS, scale_factor_temporal=4, scale_factor_spatial=8):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def encode(self, video):
        assert video.device == self.device
        assert video.shape[1] == 3
        assert video.shape[2] % 4 == 1
        first = avg_pool3d(video[:, :, :1], (1, 8, 8))
        rest = [avg_pool3d(video[:, :, 1:], (4, 8, 8))] if video.shape[2] > 1 else []
        colours = torch.cat([first, *rest], dim=2)
        nothing = colours.new_zeros(1, CHANNELS - 3, *colours.shape[2:])
        latents = torch.cat([colours, nothing], dim=1)
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: latents))

    def decode(self, latents, return_dict=True):
        assert not return_dict
        colours = latents[:, :3] * self.scale
        frames = torch.cat([colours[:, :, :1], colours[:, :, 1:].repeat_interleave(4, 2)], dim=2)
        return (frames.repeat_interleave(8, 3).repeat_interleave(8, 4).clamp(-1, 1),)
