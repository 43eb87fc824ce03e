"""The benchmark of the models: its shapes are real, and its code runs where there is no GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.chart import bars
from benchmarks.real_models import assemble_ltx_2b, assemble_ltx_13b, assemble_wan_fast

pytestmark = pytest.mark.slow


class Adapter:
    """What an assembling may leave something on."""

    _upsampler: Any = None


def billions(model: Any) -> float:
    return sum(parameter.numel() for parameter in model.parameters()) / 1e9


@pytest.mark.parametrize(
    ("assemble", "transformer", "vae", "text_encoder"),
    [
        (assemble_ltx_2b, 1.923, 1.247, 4.762),
        (assemble_ltx_13b, 13.043, 1.247, 4.762),
        (assemble_wan_fast, 5.000, 0.705, 5.68),
    ],
)
def test_the_real_shapes_have_as_many_weights_as_the_published_models(
    assemble: Any, transformer: float, vae: float, text_encoder: float
) -> None:
    import torch

    adapter = Adapter()
    pipe = assemble(adapter, torch.bfloat16, torch.device("meta"))

    assert billions(pipe.transformer) == pytest.approx(transformer, abs=0.001)
    assert billions(pipe.vae) == pytest.approx(vae, abs=0.001)
    assert billions(pipe.text_encoder) == pytest.approx(text_encoder, abs=0.002)
    assert {part.dtype for part in (pipe.transformer, pipe.vae, pipe.text_encoder)} == {
        torch.bfloat16
    }
    if adapter._upsampler is not None:
        # The published file has 505 MB, in float32.
        assert billions(adapter._upsampler.latent_upsampler) * 4 == pytest.approx(0.505, abs=0.001)


def run(*options: str, module: str = "benchmarks.generation") -> str:
    found = subprocess.run(
        [sys.executable, "-m", module, *options],
        capture_output=True,
        text=True,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def test_all_parts_run_on_the_tiny_checkpoints(tmp_path: Path) -> None:
    run("--tiny", "--rounds", "1", "--out", str(tmp_path))

    (results,) = tmp_path.glob("*.json")
    kept = json.loads(results.read_text())
    assert kept["device"]["matmul_flops"] > 1e8
    for part in ("ltx-2b", "ltx-13b", "wan-fast"):
        found, ours = kept[part], kept[part]["ours"]["median"]
        stages = sum(ours[stage] for stage in ("text", "denoise", "decode", "encode"))
        assert 0 < stages <= ours["total"] * 1.01
        assert found["made_with"]["compile"] == "off: no CUDA GPU"
        assert found["tflop"] > 0
        assert (found["bare_seconds"] is None) == (part == "ltx-13b")
    settings = kept["settings"]
    assert settings["int8-weights"]["made_with"]["quantize"] == "int8-weights"
    assert settings["embeddings"]["median"]["text"] == 0
    assert settings["small profile"]["made_with"]["decode"] == "tiles"
    assert "Ada" in settings["float8"]["refused"]
    assert kept["load"]["cold_seconds"] > 0
    chart = ElementTree.fromstring(results.with_suffix(".svg").read_text())
    assert len(chart.findall(".//{http://www.w3.org/2000/svg}rect")) > 40


def test_without_a_gpu_it_says_so_and_measures_nothing(tmp_path: Path) -> None:
    assert "there is none" in run("--out", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_bar_is_as_long_as_its_seconds() -> None:
    chart = ElementTree.fromstring(bars("<clips>", {"a": {"x": 1.0, "y": 3.0}, "b": {"x": 2.0}}))

    named = chart.findall(".//{http://www.w3.org/2000/svg}rect[@height='18']")
    assert [float(bar.attrib["width"]) for bar in named] == [140.0, 420.0, 280.0]
    assert len({bar.attrib["fill"] for bar in named}) == 2
