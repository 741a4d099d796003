"""Processors of models that also watch videos, where torchvision is missing."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_ABSENT = object()


@contextmanager
def images_only() -> Iterator[None]:
    """Let transformers build and load processors without what they need for videos alone.

    Qwen-VL, InternVL, LLaVA-OneVision, SmolVLM and MiniCPM-V watch videos too. In transformers 5 their processors
    cannot be built without a video processor, and no video processor without torchvision; SmolVLM's also asks for
    num2words, to spell the number of frames. Where these are missing, a processor built or loaded inside this context
    gets `no_videos` instead; images are processed as ever. Afterwards transformers is as it was. Not for several
    threads at once.

    Example:
        >>> from transformers import AutoProcessor
        >>> from wherenot.models.tiny_vlms import tiny_vlm
        >>> folder = getfixture("tmp_path")
        >>> _ = tiny_vlm("qwen2_5_vl")[1].save_pretrained(folder)
        >>> with images_only():
        ...     type(AutoProcessor.from_pretrained(folder)).__name__
        'Qwen2_5_VLProcessor'
    """
    lent = _lent()
    before = [(module, name, vars(module).get(name, _ABSENT)) for module, name, _ in lent]
    for module, name, value in lent:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            if value is _ABSENT:
                delattr(module, name)
            else:
                setattr(module, name, value)


@cache
def no_videos() -> type:
    """The class of video processors that refuse videos, and keep a real one's settings for whoever loads them next.

    Example:
        >>> no_videos()(video_processor_type="Qwen2VLVideoProcessor").to_dict()["video_processor_type"]
        'Qwen2VLVideoProcessor'
    """
    from transformers.video_processing_utils import VideoProcessorMixin

    class NoVideos(VideoProcessorMixin):
        # What processors read off the video processor while they process images.
        num_frames = None
        fps = None
        slice_mode = False
        downsample_mode = "16x"

        # What a checkpoint calls its video processor, or only its image processor.
        video_processor_type = ""
        image_processor_type = ""

        def preprocess(self, *_: Any, **__: Any) -> Any:
            raise ValueError("processor: videos need torchvision; run: pip install torchvision")

        def to_dict(self) -> dict[str, Any]:
            kind = self.video_processor_type or self.image_processor_type.replace("Image", "Video")
            return {**super().to_dict(), "video_processor_type": kind}

    return NoVideos


def _lent() -> list[tuple[Any, str, Any]]:
    from transformers.processing_utils import transformers_module
    from transformers.utils.import_utils import is_num2words_available, is_torchvision_available
    from transformers.video_processing_utils import VideoProcessorMixin

    lent: list[tuple[Any, str, Any]] = []
    if not is_torchvision_available():
        auto = importlib.import_module("transformers.models.auto.video_processing_auto")
        lent.append((transformers_module, "VideoProcessorMixin", VideoProcessorMixin))
        lent.append((auto, "AutoVideoProcessor", no_videos()))
    if not is_num2words_available():
        smolvlm = importlib.import_module("transformers.models.smolvlm.processing_smolvlm")
        lent.append((smolvlm, "num2words", str))
    return lent
