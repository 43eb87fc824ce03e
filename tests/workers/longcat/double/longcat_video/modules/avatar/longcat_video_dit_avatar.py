"""A transformer of one weight, with the authors' arguments, checks and need of flash-attn."""

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from safetensors.torch import load_file


class LongCatVideoAvatarTransformer3DModel(ModelMixin, ConfigMixin):
    @register_to_config
    def __init__(
        self,
        in_channels=16,
        caption_channels=32,
        enable_flashattn3=False,
        enable_flashattn2=False,
        enable_xformers=False,
        cp_split_hw=None,
    ):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((1,), 0.1))
        self.cp_split_hw = cp_split_hw
        self.lora_dict, self.active_loras = {}, []
        self.cache_on_cpu = None  # whether the last clip's was

    def load_lora(
        self, lora_path, lora_key, multiplier=1.0, lora_network_dim=128, lora_network_alpha=64
    ):
        assert (lora_network_dim, lora_network_alpha) == (128, 64)
        self.lora_dict[lora_key] = multiplier * load_file(lora_path)["up"]

    def enable_loras(self, lora_key_list=[]):  # noqa: B006 - the authors' signature
        self.active_loras = [self.lora_dict[key].to(self.device) for key in lora_key_list]

    def forward(
        self,
        hidden_states,
        timestep,
        encoder_hidden_states,
        encoder_attention_mask=None,
        num_cond_latents=0,
        return_kv=False,
        kv_cache_dict={},  # noqa: B006 - the authors' signature
        skip_crs_attn=False,
        offload_kv_cache=False,
        audio_embs=None,
        num_ref_latents=None,
        ref_img_index=None,
        mask_frame_range=None,
        ref_target_masks=None,
    ):
        from flash_attn import flash_attn_func

        assert self.config.enable_flashattn2, "no other kernel is there"
        assert self.cp_split_hw[0] * self.cp_split_hw[1] == 1
        frames = hidden_states.shape[2]
        tokens = hidden_states.float().mean((3, 4)).transpose(1, 2)[:, :, None]  # B T H C
        attended = flash_attn_func(tokens, tokens, tokens, dropout_p=0.0, softmax_scale=0.25)
        if return_kv:
            assert num_cond_latents == frames
            assert num_ref_latents == 1
            assert ref_img_index is not None
            self.cache_on_cpu = offload_kv_cache
            return hidden_states, {0: attended}
        # As the authors' code regroups them: one frame, then four to a latent.
        sound = audio_embs.float().mean((2, 3, 4))
        levels = torch.cat([sound[:, :1], sound[:, 1:].unflatten(1, (-1, 4)).mean(2)], dim=1)
        context = attended.mean((1, 2, 3), keepdim=True)[..., None]
        context = context + sum(cached.mean() for cached in kv_cache_dict.values())
        words = encoder_hidden_states[:, 0][encoder_attention_mask > 0].float().mean()
        strength = sum(self.active_loras).mean()
        target = context + words + self.weight * strength + levels[:, None, -frames:, None, None]
        return target.tanh() - hidden_states.float()
