"""Build LongCat's pipeline from its authors' code, which is no package, and its weights."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.domain.attempt import AttemptFailed, FailureKind
from service.domain.models.cards.longcat import SOURCE
from service.installation import install_command
from service.workers.device import empty_cache
from service.workers.weights import read, read_model, silence_libraries

if TYPE_CHECKING:
    import torch

_PACKAGE = "longcat_video"
_VERSION = "avatar-v1.5"
_LORA = "dmd"
_LORA_SIZES = {"lora_network_dim": 128, "lora_network_alpha": 64}
# Of the transformer: one GPU, and the kernel that attention.py provides.
_CONFIGURATION = {
    "cp_split_hw": [1, 1],
    "enable_flashattn2": True,
    "enable_flashattn3": False,
    "enable_xformers": False,
}


def read_pipeline(
    avatar: Path, base: Path, dtype: "torch.dtype", *, int8: bool, lora_multiplier: float
) -> Any:
    """Read the pipeline onto the CPU: from the folder of LongCat-Video-Avatar, and, tokenizer, text
    encoder and VAE, from that of LongCat-Video. Raises AttemptFailed (internal)."""
    from transformers import AutoTokenizer, UMT5EncoderModel

    silence_libraries()
    pipelines = _import("pipeline_longcat_video_avatar")
    audio = _import("audio_process")
    vae = _import("modules.autoencoder_kl_wan").AutoencoderKLWan
    scheduler = _import("modules.scheduling_flow_match_euler_discrete")
    pipelines.tqdm = partial(pipelines.tqdm, disable=True)  # it would fill the worker's log
    whisper = str(avatar / "whisper-large-v3")
    dit = _read_transformer(avatar, dtype, int8=int8)
    lora = avatar / "lora" / "dmd_lora.safetensors"
    read(lora, lambda: dit.load_lora(str(lora), _LORA, multiplier=lora_multiplier, **_LORA_SIZES))
    return pipelines.LongCatVideoAvatarPipeline(
        tokenizer=read(base, lambda: AutoTokenizer.from_pretrained(base, subfolder="tokenizer")),
        text_encoder=read_model(UMT5EncoderModel, base, "text_encoder", dtype),
        vae=read_model(vae, base, "vae", dtype),
        scheduler=read(
            avatar,
            lambda: scheduler.FlowMatchEulerDiscreteScheduler.from_pretrained(
                avatar, subfolder="scheduler"
            ),
        ),
        dit=dit,
        audio_encoder=read(avatar, lambda: audio.get_audio_encoder(whisper, _VERSION)),
        audio_feature_extractor=read(
            avatar, lambda: audio.get_audio_feature_extractor(whisper, _VERSION)
        ),
        model_type=_VERSION,
    )


def _read_transformer(avatar: Path, dtype: "torch.dtype", *, int8: bool) -> Any:
    if int8:
        load = _import("modules.quantization").load_quantized_dit
        return read(
            avatar, lambda: load(str(avatar), subfolder="base_model_int8", **_CONFIGURATION)
        )
    dit = _import("modules.avatar.longcat_video_dit_avatar").LongCatVideoAvatarTransformer3DModel
    return read_model(dit, avatar, "base_model", dtype, **_CONFIGURATION)


def place(pipe: Any, device: "torch.device") -> None:
    """Move what every step needs to the device. Encoders of text and sound come there only while
    they work: they are as large as a third of the transformer."""
    pipe.device = device
    pipe.dit.to(device)
    pipe.dit.enable_loras([_LORA])  # moves them to where the transformer is
    pipe.vae.to(device)
    pipe.encode_prompt = _lend(lambda: pipe.text_encoder, device, pipe.encode_prompt)
    pipe.get_audio_embedding = _lend(
        lambda: pipe.audio_encoder.encoder, device, pipe.get_audio_embedding
    )


def embed_speech(pipe: Any, samples: Any, fps: int, rate: int) -> "torch.Tensor":
    """Return the embedding of a voice, (frames, layers, channels), on the CPU."""
    embedding: torch.Tensor = pipe.get_audio_embedding(
        samples, fps=fps, device=pipe.device, sample_rate=rate, model_type=_VERSION
    )
    return embedding.cpu()


def _lend(
    find: Callable[[], Any], device: "torch.device", call: Callable[..., Any]
) -> Callable[..., Any]:
    """Wrap a method so that the module which it uses is on the device meanwhile."""

    @wraps(call)
    def run(*args: Any, **kwargs: Any) -> Any:
        with _on(device, find()):
            return call(*args, **kwargs)

    return run


@contextmanager
def _on(device: "torch.device", module: Any) -> Iterator[None]:
    module.to(device)
    try:
        yield
    finally:
        module.to("cpu")
        empty_cache()


def _import(name: str) -> Any:
    """Import a module of the authors' code. Raises AttemptFailed (internal) without it."""
    try:
        return import_module(f"{_PACKAGE}.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(_PACKAGE):
            detail = f"clone {SOURCE} and set PYTHONPATH to the folder"
        else:
            detail = f"{error.name} is missing; {install_command('longcat')} installs it"
        message = f"longcat needs its authors' code: {detail}"
        raise AttemptFailed(FailureKind.INTERNAL, "code_unavailable", message) from error
