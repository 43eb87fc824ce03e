"""Tokenizers and text encoders of the tiny checkpoints, made without a hub."""

from typing import Any


def characters(most: int) -> Any:
    """A T5 tokenizer with one token a printable character, so that tokens are easily counted."""
    from transformers import T5TokenizerFast

    return T5TokenizerFast(vocab=_pieces([]), extra_ids=0, model_max_length=most)


def after(opening: str, tokens: int, most: int) -> Any:
    """The same, but what stands before a prompt takes exactly so many tokens.

    Pipelines that wrap a prompt cut that many off, by the count of the real tokenizer.
    """
    from transformers import T5TokenizerFast

    words = [f"\N{LOWER ONE EIGHTH BLOCK}{word}" for word in dict.fromkeys(opening.split())]
    for halves in range(len(words)):
        split = [half for word in words[:halves] for half in (word[:2], word[2:])]
        found = T5TokenizerFast(
            vocab=_pieces([*split, *words[halves:], "<|eot_id|>"]),
            extra_ids=0,
            model_max_length=most,
        )
        if len(found(opening).input_ids) - 1 == tokens:  # less the one that ends it
            return found
    raise AssertionError(f"{len(words)} words do not make {tokens} tokens")


def _pieces(words: list[str]) -> list[tuple[str, float]]:
    specials = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    single = ["\N{LOWER ONE EIGHTH BLOCK}", *(chr(code) for code in range(33, 127))]
    whole = [(word, -0.5) for word in dict.fromkeys(words) if word not in single]
    return [*specials, *((character, -1.0) for character in single), *whole]


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
