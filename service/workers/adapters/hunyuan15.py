"""HunyuanVideo 1.5 on diffusers' HunyuanVideo15Pipeline: text to video and video to video."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.domain.request import VideoRequest
from service.workers.adapters.base import Conditions
from service.workers.adapters.checks import check_tokens
from service.workers.adapters.hunyuan import Hunyuan
from service.workers.weights import read_pipeline

if TYPE_CHECKING:
    import torch

MAX_GLYPHS = 256  # bytes of quoted text, which a second encoder reads byte by byte


class Hunyuan15(Hunyuan):
    """An Adapter for HunyuanVideo 1.5, whose guidance is a component of the pipeline."""

    max_tokens = 1000

    def assemble(self, parts: list[Path], dtype: "torch.dtype") -> Any:
        from diffusers import HunyuanVideo15Pipeline

        pipe = read_pipeline(HunyuanVideo15Pipeline, parts[0], dtype)
        pipe.vae.enable_tiling()
        return pipe

    def tokens(self, prompt: str) -> int:
        from diffusers.pipelines.hunyuan_video1_5 import pipeline_hunyuan_video1_5 as pipeline

        chat = pipeline.format_text_input([prompt], self.pipe.system_message)
        tokens = self.pipe.tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, tokenize=True, return_dict=True
        )
        return len(tokens.input_ids[0]) - int(self.pipe.prompt_template_encode_start_idx)

    def check(self, request: VideoRequest, conditions: Conditions) -> None:
        super().check(request, conditions)
        for text in (request.prompt, request.negative_prompt or ""):
            check_tokens(
                self.card, "quoted text in the prompt", self._count_glyphs(text), MAX_GLYPHS
            )

    def _count_glyphs(self, prompt: str) -> int:
        from diffusers.pipelines.hunyuan_video1_5.pipeline_hunyuan_video1_5 import (
            extract_glyph_texts,
        )

        texts = extract_glyph_texts(prompt)
        return len(self.pipe.tokenizer_2(texts).input_ids) if texts else 0

    def _guidance(self, request: VideoRequest) -> dict[str, Any]:
        self.pipe.guider = self.pipe.guider.new(guidance_scale=request.guidance_scale)
        return {"negative_prompt": request.negative_prompt}
