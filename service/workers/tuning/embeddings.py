"""Prompts that were read before are not read again: a text encoder is larger than many a model."""

from collections import OrderedDict
from collections.abc import Callable
from functools import wraps
from typing import Any


class Embeddings:
    """What the text encoder made of the prompts that were asked for last, in the main memory.

    The key is everything that `encode_prompt` is told, so that what comes back is bit for bit
    what would be made. At most `max_bytes` are kept; 0 keeps none.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._kept: OrderedDict[str, tuple[Any, ...]] = OrderedDict()
        self.last = "not yet"  # whether the last prompt was known

    @property
    def bytes(self) -> int:
        return sum(map(_bytes, self._kept.values()))

    def remember(self, pipe: Any) -> None:
        """Have `pipe` look here before it asks its text encoder."""
        if self._max:
            pipe.encode_prompt = self._remembered(type(pipe).__name__, pipe.encode_prompt)

    def _remembered(self, pipeline: str, encode: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(encode)
        def look(*args: Any, **kwargs: Any) -> Any:
            if any(map(_is_tensor, (*args, *kwargs.values()))):
                return encode(*args, **kwargs)  # somebody has embeddings already
            key = repr((pipeline, args, sorted(kwargs.items())))
            if key in self._kept:
                self._kept.move_to_end(key)
                self.last = "remembered"
                return _copied(self._kept[key])
            made = encode(*args, **kwargs)
            self.last = "made"
            self._keep(key, made)
            return made

        return look

    def _keep(self, key: str, made: tuple[Any, ...]) -> None:
        if _bytes(made) > self._max:
            return
        # On the CPU, each with the device where it was made.
        self._kept[key] = tuple(
            (tensor.to("cpu", copy=True), tensor.device) if _is_tensor(tensor) else (tensor, None)
            for tensor in made
        )
        while self.bytes > self._max:
            self._kept.popitem(last=False)


def _copied(kept: tuple[Any, ...]) -> tuple[Any, ...]:
    """Copies: what a pipeline does to its embeddings stays its own."""
    return tuple(value if device is None else value.to(device, copy=True) for value, device in kept)


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _bytes(values: tuple[Any, ...]) -> int:
    """Of tensors, alone or each beside its device."""
    tensors = (value[0] if isinstance(value, tuple) else value for value in values)
    return sum(tensor.nbytes for tensor in tensors if _is_tensor(tensor))
