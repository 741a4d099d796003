"""Which weights of a classifier train."""

from __future__ import annotations

from typing import Literal

from torch import nn

from wherenot.models.classifier import Classifier
from wherenot.models.clip import ZeroShot

Scope = Literal["full", "head", "vision", "projection"]


def train_only(classifier: Classifier, scope: Scope | None = None) -> Scope:
    """Let the weights of a scope train and freeze the rest.

    A network with a classification head knows ``full`` (all weights) and ``head``. CLIP and SigLIP know ``vision`` (the
    vision tower and its projection; the paper's choice), ``projection`` (CLIP's visual projection alone) and ``full``
    (both towers; the names of the classes are read anew in every forward, which costs as many texts each time). Their
    scale never trains.

    Args:
        classifier: Its weights' `requires_grad` is set.
        scope: None takes ``vision`` for CLIP and SigLIP, ``full`` for all others.

    Returns:
        The scope that was set.

    Raises:
        ValueError: If the classifier has no such scope.

    Example:
        >>> from wherenot.models import build_classifier
        >>> small = build_classifier("small-cnn", classes=["cat", "dog"])
        >>> train_only(small, "head")
        'head'
        >>> [name for name, weight in small.named_parameters() if weight.requires_grad]
        ['network.head.1.weight', 'network.head.1.bias']
    """
    network = classifier.network
    zero_shot = isinstance(network, ZeroShot)
    scope = scope or ("vision" if zero_shot else "full")
    scopes = ("vision", "projection", "full") if zero_shot else ("full", "head")
    if scope not in scopes:
        raise ValueError(
            f"train_only: {classifier.architecture} has no scope {scope!r}; choose one of {', '.join(scopes)}."
        )
    if zero_shot:
        _zero_shot(network, scope)
    else:
        network.requires_grad_(scope == "full")
        if scope == "head":
            for weight in head(network):
                weight.requires_grad_(True)
    return scope


def head(network: nn.Module) -> list[nn.Parameter]:
    """The weights of a network's classification head.

    For a transformers model what its backbone lacks, for a timm model what its ``get_classifier`` gives, for any other
    its last linear layer.

    Raises:
        ValueError: If there are none.
    """
    backbone = getattr(network, "base_model", None)
    classifier = getattr(network, "get_classifier", None)
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if isinstance(backbone, nn.Module) and backbone is not network:
        inside = {id(weight) for weight in backbone.parameters()}
        weights = [weight for weight in network.parameters() if id(weight) not in inside]
    elif callable(classifier):
        weights = [weight for module in _modules(classifier()) for weight in module.parameters()]
    else:
        weights = list(linear[-1].parameters()) if linear else []
    if not weights:
        raise ValueError(f"train_only: {type(network).__name__} has no head to train; choose scope 'full'.")
    return weights


def _modules(found: object) -> list[nn.Module]:
    """Distilled models of timm have two heads."""
    several = found if isinstance(found, tuple | list) else [found]
    return [module for module in several if isinstance(module, nn.Module)]


def _zero_shot(network: ZeroShot, scope: Scope) -> None:
    if scope == "projection" and not hasattr(network.model, "visual_projection"):
        raise ValueError("train_only: SigLIP has no projection; choose scope 'vision' or 'full'.")
    parts = ("visual_projection.",) if scope == "projection" else ("visual_projection.", "vision_model.")
    for name, weight in network.model.named_parameters():
        if name.startswith(("visual_", "vision_")):
            weight.requires_grad_(name.startswith(parts))
    network.train_text(scope == "full")
