"""`wherenot bench mllm`: answers explained, against the authors' way, on a model of some size with random weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from wherenot.bench.authors_answers import AuthorsAnswers, authors_order
from wherenot.bench.memory import peak_memory
from wherenot.bench.run import Table
from wherenot.explain_generation import Question, explain_questions
from wherenot.models import VisionLanguageModel
from wherenot.models.tiny_vlms import tiny_vlm
from wherenot.regions import parse_partition
from wherenot.run import RunFolder
from wherenot.search import parse_search

Size = Literal["tiny", "0.4b", "3b", "7b"]

_PROMPT = "Which button opens the settings?"
_ANSWER = '{"thought":"the gear at the upper right","POINT":[912,88]}'
_PROMPTS = tuple(f"Where is element number {number} of this screen?" for number in range(8))
_VOCABULARY = 151_936
_SHAPES: dict[str, dict[str, dict[str, Any]]] = {
    "0.4b": {
        "text": {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 14, "num_attention_heads": 14},
        "vision": {"depth": 8, "hidden_size": 640, "intermediate_size": 1710, "num_heads": 16},
    },
    "3b": {
        "text": {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 16},
        "vision": {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16},
    },
    "7b": {
        "text": {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28},
        "vision": {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16},
    },
}


@dataclass(frozen=True)
class Measured:
    """One way of explaining.

    Attributes:
        way: Its name.
        forwards: Masked images shown to the model.
        seconds: All it took.
        mib: Peak memory beyond the model's.
        same_order: Whether it found the authors' order; None where that was not asked.
    """

    way: str
    forwards: int
    seconds: float
    mib: float
    same_order: bool | None


def sized_vlm(size: Size, *, device: str, precision: torch.dtype, seed: int = 0) -> VisionLanguageModel:
    """A Qwen2.5-VL of a real size with random weights.

    Args:
        size: ``tiny``, or about so many weights.
        device: Where it is made.
        precision: Of the weights.
        seed: Of the weights.
    """
    model, processor = tiny_vlm("qwen2_5_vl", seed=seed)
    if size == "tiny":
        tiny = VisionLanguageModel(model, processor)
        tiny.model.to(device=device, dtype=precision)
        return tiny
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    text, vision = _SHAPES[size]["text"], _SHAPES[size]["vision"]
    width = text["hidden_size"] // text["num_attention_heads"]
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [width // 8, 3 * width // 16, 3 * width // 16]}
    known = model.config.to_dict()
    config = Qwen2_5_VLConfig(
        **{
            **known,
            "text_config": {
                **known["text_config"], **text, "vocab_size": _VOCABULARY, "rope_parameters": rope,
                "layer_types": None, "num_key_value_heads": 4 if size == "7b" else 2, "tie_word_embeddings": False,
            },
            "vision_config": {
                **known["vision_config"], **vision, "out_hidden_size": text["hidden_size"], "window_size": 112,
                "fullatt_block_indexes": [vision["depth"] // 4 * step - 1 for step in (1, 2, 3, 4)],
            },
            "tie_word_embeddings": False,
        }
    )  # fmt: skip
    processor.image_processor.size = {"shortest_edge": 4 * 28 * 28, "longest_edge": 16_384 * 28 * 28}
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(seed)
        before = torch.get_default_dtype()
        torch.set_default_dtype(precision)
        try:
            large = Qwen2_5_VLForConditionalGeneration(config)
        finally:
            torch.set_default_dtype(before)
        # Only tokens that the tokenizer knows are likely, as in a trained model: spread over all 151,936 no probability
        # would be large enough to rank regions by.
        head = large.lm_head.weight
        with torch.no_grad():
            words = known["text_config"]["vocab_size"]
            head[:words].normal_(std=6 * head.shape[1] ** -0.5)
            head[words:].normal_(std=0.1 * head.shape[1] ** -0.5)
    return VisionLanguageModel(large.eval(), processor)


def bench_mllm(
    out: Path,
    *,
    size: Size,
    image: Image.Image,
    partition: str,
    max_regions: int,
    device: str,
    chunk: int | None,
    on_way: Callable[[str], None],
) -> Table:
    """Measure every way; each is written down when it is done, and none is measured again.

    Args:
        out: Run folder; gets ``ways.jsonl`` and ``table.md``.
        size: Of the model.
        image: What is asked about.
        partition: How it is cut.
        max_regions: Regions to find.
        device: Where the model is.
        chunk: Masked images per forward of ours.
        on_way: Called with the name of each way before it is measured.
    """
    precision = torch.bfloat16 if device != "cpu" else torch.float32
    settings = {
        "size": size, "image": image.size, "partition": partition, "max_regions": max_regions, "device": device,
        "chunk": chunk, "threads": torch.get_num_threads(),
    }  # fmt: skip
    folder = RunFolder(out)
    folder.begin("bench mllm", size, settings, model=size)
    records = list(folder.records("ways.jsonl"))
    done = {record["way"] for record in records}
    vlm = sized_vlm(size, device=device, precision=precision)
    labels = parse_partition(partition)(np.asarray(image))
    answer = vlm.answer_ids(vlm.encode(image, _PROMPT), _ANSWER)
    orders: dict[str, list[int]] = {record["way"]: record["order"] for record in records}

    def authors(limit: int) -> tuple[int, list[int]]:
        scores = AuthorsAnswers(vlm, image, _PROMPT, answer, labels)
        order = authors_order(scores, limit)
        return scores.forwards, order

    def ours(search: str, prompts: Sequence[str], limit: int) -> tuple[int, list[int]]:
        questions = [Question(prompt=prompt, answer=_ANSWER, tokens="all") for prompt in prompts]
        found = explain_questions(
            vlm, image, questions, regions=labels, search=parse_search(search), max_regions=limit, chunk=chunk
        )
        return sum(each.evidence.forwards for each in found), found[0].evidence.order.tolist()

    def one_by_one() -> tuple[int, list[int]]:
        each = [ours("exact", [prompt], 1) for prompt in _PROMPTS]
        return sum(forwards for forwards, _ in each), each[0][1]

    ways: dict[str, Callable[[], tuple[int, list[int]]]] = {
        "authors": lambda: authors(max_regions),
        "exact": lambda: ours("exact", [_PROMPT], max_regions),
        "fast": lambda: ours("fast", [_PROMPT], max_regions),
        "8 questions, one by one": one_by_one,
        "8 questions together": lambda: ours("exact", _PROMPTS, 1),
    }
    for way, explain in ways.items():
        if way in done:
            continue
        on_way(way)
        with peak_memory(vlm.device) as peak:
            started = time.perf_counter()
            forwards, orders[way] = explain()
            if device != "cpu":
                torch.cuda.synchronize()
            seconds = time.perf_counter() - started
        same = orders[way] == orders["authors"] if way in ("authors", "exact", "fast") else None
        record = asdict(Measured(way, forwards, seconds, peak.mib, same)) | {"order": orders[way]}
        folder.append("ways.jsonl", record)
        records.append(record)
    made = _table(vlm, image, records)
    (folder.path / "table.md").write_text(made.markdown())
    return made


def _table(vlm: VisionLanguageModel, image: Image.Image, records: Sequence[dict[str, Any]]) -> Table:
    of = {record["way"]: record for record in records}
    base = of["authors"]
    lines = []
    for record in records:
        against = of["8 questions, one by one"] if record["way"].startswith("8") else base
        each, each_base = (one["seconds"] / one["forwards"] for one in (record, against))
        order = {None: "", True: "same", False: "other"}[record["same_order"]]
        lines.append([
            record["way"], str(record["forwards"]), f"{record['seconds']:.1f}", f"{each_base / each:.2f}x",
            f"{against['seconds'] / record['seconds']:.2f}x", f"{record['mib']:.0f}",
            f"{record['mib'] / against['mib']:.2f}", order,
        ])  # fmt: skip
    weights = sum(weight.numel() for weight in vlm.model.parameters())
    tokens = vlm.encode(image, _PROMPT).num_tokens
    shown = f"{image.width} x {image.height} px, {tokens} tokens of prompt"
    title = f"Qwen2.5-VL, {weights / 1e6:.1f} M random weights, {shown}, {torch.get_num_threads()} threads"
    headings = ["way", "forwards", "seconds", "per image", "in all", "peak MiB", "of it", "order"]
    legend = (
        "per image, in all: how many times faster than the authors' way, or than one by one; peak MiB: beyond the "
        "model, and as a share of the authors' way, or of one by one"
    )
    return Table(title, headings, lines, legend)
