"""The stand-in for flash-attn: the same numbers, and seen by LongCat alone."""

import importlib.util
import sys
from types import ModuleType
from typing import Any

import pytest

from service.workers.longcat import attention

torch = pytest.importorskip("torch")


def plain(q: Any, k: Any, v: Any, scale: float) -> Any:
    """Softmax attention as it is written, (tokens, heads, size)."""
    scores = torch.einsum("qhd,khd->hqk", q, k) * scale
    return torch.einsum("hqk,khd->qhd", scores.softmax(-1), v)


def random(*shape: int) -> Any:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("scale", [None, 0.3])
def test_it_attends_as_the_formula_says(scale: float | None) -> None:
    q, k, v = random(2, 5, 3, 8), random(2, 7, 3, 8) + 1, random(2, 7, 3, 8) - 1

    result = attention.flash_attn_func(q, k, v, dropout_p=0.0, softmax_scale=scale)

    expected = torch.stack([plain(*each, scale or 8**-0.5) for each in zip(q, k, v, strict=True)])
    assert torch.allclose(result, expected)


def test_sequences_side_by_side_do_not_see_each_other() -> None:
    q, k, v = random(6, 3, 8), random(9, 3, 8), random(9, 3, 8) * 2

    result = attention.flash_attn_varlen_func(
        q=q,
        k=k,
        v=v,
        cu_seqlens_q=torch.tensor([0, 2, 6], dtype=torch.int32),
        cu_seqlens_k=torch.tensor([0, 5, 9], dtype=torch.int32),
        max_seqlen_q=4,
        max_seqlen_k=5,
    )

    parts = ((slice(0, 2), slice(0, 5)), (slice(2, 6), slice(5, 9)))
    assert torch.allclose(result, torch.cat([plain(q[a], k[b], v[b], 8**-0.5) for a, b in parts]))


class Model:
    def forward(self, fails: bool) -> str:
        from flash_attn import flash_attn_func

        if fails:
            raise KeyError
        return flash_attn_func.__module__


def test_it_is_there_during_forward_alone() -> None:
    model = Model()
    assert importlib.util.find_spec("flash_attn") is None, "this test is of a machine without it"

    assert attention.provide_attention(model) == "torch"

    assert model.forward(fails=False) == attention.__name__
    with pytest.raises(KeyError):
        model.forward(fails=True)
    assert "flash_attn" not in sys.modules
    with pytest.raises(ModuleNotFoundError):
        import flash_attn  # noqa: F401


def test_an_installed_one_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    real = ModuleType("flash_attn")
    real.__spec__ = importlib.util.spec_from_loader("flash_attn", loader=None)
    real.flash_attn_func = test_an_installed_one_is_used  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flash_attn", real)
    model = Model()

    assert attention.provide_attention(model) == "flash_attn"

    assert model.forward(fails=False) == __name__
