"""A cache of prompt embeddings: text encoders are larger than many video models."""

from collections import OrderedDict
from collections.abc import Callable
from functools import wraps
from typing import Any


class EmbeddingCache:
    """An LRU cache of prompt embeddings in main memory, at most `max_bytes`; 0 turns it off.

    The key is all arguments of `encode_prompt`, so that cached embeddings are bit for bit equal.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._entries: OrderedDict[str, tuple[Any, ...]] = OrderedDict()
        self.last = "not yet"  # whether the last prompt was cached

    @property
    def bytes(self) -> int:
        return sum(map(_bytes, self._entries.values()))

    def attach(self, pipe: Any) -> None:
        """Make `pipe` use this cache in front of its text encoder."""
        if self._max:
            pipe.encode_prompt = self._cached_encode(type(pipe).__name__, pipe.encode_prompt)

    def _cached_encode(self, pipeline: str, encode: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(encode)
        def encode_or_reuse(*args: Any, **kwargs: Any) -> Any:
            if any(map(_is_tensor, (*args, *kwargs.values()))):
                return encode(*args, **kwargs)  # the caller passes embeddings
            key = repr((pipeline, args, sorted(kwargs.items())))
            if key in self._entries:
                self._entries.move_to_end(key)
                self.last = "remembered"
                return _copy(self._entries[key])
            embeddings = encode(*args, **kwargs)
            self.last = "made"
            self._add(key, embeddings)
            return embeddings

        return encode_or_reuse

    def _add(self, key: str, embeddings: tuple[Any, ...]) -> None:
        if _bytes(embeddings) > self._max:
            return
        # On the CPU, each with the device where it was made.
        self._entries[key] = tuple(
            (tensor.to("cpu", copy=True), tensor.device) if _is_tensor(tensor) else (tensor, None)
            for tensor in embeddings
        )
        while self.bytes > self._max:
            self._entries.popitem(last=False)


def _copy(entry: tuple[Any, ...]) -> tuple[Any, ...]:
    """Copy an entry to its device, so that pipelines cannot modify the cache."""
    return tuple(
        value if device is None else value.to(device, copy=True) for value, device in entry
    )


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _bytes(values: tuple[Any, ...]) -> int:
    """Sum the bytes of tensors, which are alone or paired with a device."""
    tensors = (value[0] if isinstance(value, tuple) else value for value in values)
    return sum(tensor.nbytes for tensor in tensors if _is_tensor(tensor))
