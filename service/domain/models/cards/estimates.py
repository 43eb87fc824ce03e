"""Estimated speed on GPUs without a measurement: FLOPs over the rate reached.

The FLOPs were counted on the real sizes (torch's FlopCounterMode on the meta device), for Mochi and
HunyuanVideo 1.5 worked out from them, and for sizes between two counted ones fitted to both.
"""

from service.domain.models.card import Speed

# TFLOP/s in bfloat16 without sparsity, at best.
_PEAK = {"A10": 70, "L40S": 362, "A100-80GB": 312, "H100": 790, "H200": 790}
# The share of an H100's peak that diffusers reaches: Wan 2.1 14B (LightX2V's README: 9.77 s a step,
# 4.25 ideal).
_REACHED = 0.43
_REST = 1.0  # seconds for text, encoding and upload


def estimate_speeds(tflop: float, *gpus: str) -> tuple[Speed, ...]:
    """Estimate the speed for so many TFLOP, from the first step to the last decoded frame."""
    return tuple(
        Speed(
            gpu=gpu,
            seconds=round(_REST + tflop / (_PEAK[gpu] * _REACHED), 1),
            kind="estimated",
            source=f"{tflop:,.0f} TFLOP at {_REACHED * 100:.0f} % of {_PEAK[gpu]} TFLOP/s",
        )
        for gpu in gpus
    )
