"""The settings of the paper's runs, by name; the data are left to you.

``paper/...`` are those of the authors' current code, with the losses of the paper; ``paper-tables/...`` those of the
scripts behind its tables. Names without a data set are for Saliency-Bench, ``-imagenet-s`` for ImageNet-S. What is
different here, on purpose or because it must be:

- ViT and ResNet are google/vit-base-patch16-224 and microsoft/resnet-101 with their own normalisation. The scripts took
  torchvision's weights (its ViT with CLIP's normalisation), the current code torchvision's ResNet.
- The kept epoch is the best on validation data; the authors chose on test data.
- The interval counts optimizer steps of the whole run; the scripts' counter began anew with every epoch.
- CLIP trains its vision tower and projection in ``paper-tables``, too. There the scripts also let the scale train.
- The scripts' fine-tuning baselines cropped and flipped training images at random for ResNet; nothing does so here.
"""

from __future__ import annotations

from typing import Literal

from wherenot.search import SearchName
from wherenot.train.config import MethodConfig, OptimizationConfig, TrainConfig

Backbone = Literal["clip", "vit", "resnet"]

MODELS: dict[Backbone, str] = {
    "clip": "openai/clip-vit-large-patch14",
    "vit": "google/vit-base-patch16-224",
    "resnet": "microsoft/resnet-101",
}
_SEEN_AS = {"tau": 0.15, "partition": "slico:50", "fill": "mean"}


def _optimization(backbone: Backbone, batch_size: int, learning_rate: float, epochs: int) -> OptimizationConfig:
    return OptimizationConfig(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=0.1 if backbone == "clip" else 0.05,
        schedule="constant",
        warmup_frac=0.0,
        keep="best",
        scope="vision" if backbone == "clip" else "full",
        precision="fp16",
    )


def _recipe(backbone: Backbone, optimization: OptimizationConfig, method: MethodConfig) -> TrainConfig:
    return TrainConfig(data="", model=MODELS[backbone], resize="whole", optimization=optimization, method=method)


def _paper(backbone: Backbone, batch_size: int, learning_rate: float, epochs: int) -> TrainConfig:
    method = MethodConfig(
        name="paper",
        weight=0.5,
        interval=10,
        confidence_above=0.75,
        stop_above=0.8,
        max_regions=10,
        search="exact" if backbone == "vit" else "scoped",
        **_SEEN_AS,
    )
    return _recipe(backbone, _optimization(backbone, batch_size, learning_rate, epochs), method)


def _tables(
    backbone: Backbone,
    batch_size: int,
    learning_rate: float,
    epochs: int,
    interval: int,
    confidence_above: float = 0.75,
    stop_above: float = 0.75,
    search: SearchName = "scoped",
) -> TrainConfig:
    method = MethodConfig(
        name="paper-tables",
        weight=0.5,
        interval=interval,
        confidence_above=confidence_above,
        stop_above=stop_above,
        max_regions=11,
        search=search,
        **_SEEN_AS,
    )
    return _recipe(backbone, _optimization(backbone, batch_size, learning_rate, epochs), method)


def _finetune(backbone: Backbone, batch_size: int, learning_rate: float, epochs: int) -> TrainConfig:
    return _recipe(backbone, _optimization(backbone, batch_size, learning_rate, epochs), MethodConfig(name="finetune"))


RECIPES: dict[str, TrainConfig] = {
    "paper/clip": _paper("clip", 64, 1e-6, 20),
    "paper/clip-imagenet-s": _paper("clip", 64, 1e-6, 10),
    "paper/vit": _paper("vit", 32, 1e-4, 20),
    "paper/vit-imagenet-s": _paper("vit", 32, 1e-4, 10),
    "paper/resnet": _paper("resnet", 32, 1e-5, 20),
    "paper/resnet-imagenet-s": _paper("resnet", 32, 1e-5, 10),
    # The same schedules with nothing added: what the runs above are to be compared with.
    "finetune/clip": _finetune("clip", 64, 1e-6, 20),
    "finetune/vit": _finetune("vit", 32, 1e-4, 20),
    "finetune/resnet": _finetune("resnet", 32, 1e-5, 20),
    "paper-tables/clip": _tables("clip", 64, 1e-6, 10, interval=6),
    "paper-tables/vit": _tables("vit", 32, 1e-4, 20, interval=6, search="exact"),
    "paper-tables/resnet": _tables("resnet", 64, 1e-4, 10, interval=11),
    "paper-tables/vit-imagenet-s": _tables("vit", 32, 1e-4, 10, interval=21, confidence_above=0.8, stop_above=0.8),
    "paper-tables/resnet-imagenet-s": _tables("resnet", 32, 1e-5, 10, interval=21),
    # Fine-tuning had schedules of its own there; the number of epochs is not known, those of the aligned runs stand in.
    "paper-tables/clip-finetune": _finetune("clip", 32, 1e-6, 10),
    "paper-tables/vit-finetune": _finetune("vit", 32, 1e-4, 20),
    "paper-tables/resnet-finetune": _finetune("resnet", 32, 1e-3, 10),
}
