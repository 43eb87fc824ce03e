"""Tokenizers and text encoders of the tiny checkpoints, made without a hub."""

from typing import Any


def characters(most: int) -> Any:
    """A T5 tokenizer with one token a printable character, so that tokens are easily counted."""
    from transformers import T5TokenizerFast

    specials = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    characters = [(chr(code), -1.0) for code in range(33, 127)]
    return T5TokenizerFast(
        vocab=[*specials, ("\N{LOWER ONE EIGHTH BLOCK}", -1.0), *characters],
        extra_ids=0,
        model_max_length=most,
    )


def t5(vocabulary: int) -> Any:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(T5Config(vocab_size=vocabulary, **_SIZES))


def umt5(vocabulary: int) -> Any:
    from transformers import UMT5Config, UMT5EncoderModel

    return UMT5EncoderModel(UMT5Config(vocab_size=vocabulary, **_SIZES))


_SIZES: dict[str, Any] = {
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 4,
    "feed_forward_proj": "gated-gelu",
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}
