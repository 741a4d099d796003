"""CLIP and SigLIP as classifiers: a class is what its name, put into a sentence, means to the text tower."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

TEMPLATES = ("a photo of a {name}.",)
_TEXTS_AT_ONCE = 256


class ZeroShot(nn.Module):
    r"""An image tower that is compared with the names of classes.

    $$\text{logits} = e^s\,\hat f(x)\,\hat t^\top, \qquad
    \hat t_y = \frac{\sum_j \hat g(\text{template}_j(y))}{\lVert\cdot\rVert}$$

    with image features f, text features g, $\hat{}$ = divided by the length, and the model's own scale s. SigLIP's bias
    is added; the same for all classes, it changes no probability of a softmax over them. The comparison runs in
    float32 also under autocast: at a scale of 100, bfloat16 would round logits to steps of 0.1.

    Text features are computed once, as long as the text tower does not train; when it does, in every forward, so that
    they are never stale. It does not, to begin with, and scale and bias never do: as in the paper, whose class names
    are fixed points that the images are brought to.

    Args:
        model: A CLIPModel or SiglipModel of transformers; its text tower, scale and bias are frozen in place.
        tokenizer: The one it was trained with.
        classes: Their names; ``_`` is read as a space.
        templates: Sentences with ``{name}`` in them; the features of several are averaged.

    Raises:
        ValueError: If there are no classes, a template lacks ``{name}``, or a sentence is longer than the text tower
            reads.

    Example:
        >>> from transformers import CLIPConfig, CLIPModel
        >>> size = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
        >>> text = {**size, "vocab_size": 9, "max_position_embeddings": 4, "eos_token_id": 8, "bos_token_id": 0}
        >>> vision = {**size, "image_size": 16, "patch_size": 8}
        >>> model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=4))
        >>> words = lambda texts, **options: {"input_ids": [[0, 1 + i, 8, 8] for i in range(len(texts))]}
        >>> ZeroShot(model, words, ["cat", "dog"])(torch.zeros(3, 3, 16, 16)).shape
        torch.Size([3, 2])

    References:
        Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", section 3.1.4;
        "Where Not to Learn", whose prompt is the default.
    """

    tokens: Tensor
    text_features: Tensor

    def __init__(
        self, model: Any, tokenizer: Any, classes: Sequence[str], templates: Sequence[str] = TEMPLATES
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.templates = tuple(templates)
        self._num_classes = len(classes)
        # Neither is part of a checkpoint: both follow from names and weights.
        self.register_buffer("tokens", self._read(classes), persistent=False)
        for frozen in (model.logit_scale, getattr(model, "logit_bias", None)):
            if frozen is not None:
                frozen.requires_grad_(False)
        self.train_text(False)

    def train_text(self, trains: bool) -> None:
        """Let the text tower and its projection train, or freeze them as they are now."""
        for name, weight in self.model.named_parameters():
            if name.startswith("text_"):
                weight.requires_grad_(trains)
        with torch.no_grad():
            self.register_buffer("text_features", self._text(), persistent=False)

    def forward(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N L"]:
        """Return the logits, in float32."""
        image = pooled(self.model.get_image_features(pixel_values=images))
        text = self._text() if self._text_trains() else self.text_features
        with torch.autocast(images.device.type, enabled=False):
            logits = F.normalize(image.float(), dim=-1) @ text.float().T * self.model.logit_scale.float().exp()
            bias = getattr(self.model, "logit_bias", None)
            return logits if bias is None else logits + bias.float()

    def save_pretrained(self, folder: Path) -> None:
        """Write the whole model and its tokenizer, as transformers reads them."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def _text_trains(self) -> bool:
        return next(self.model.text_model.parameters()).requires_grad

    def _text(self) -> Float[Tensor, "L D"]:
        features = torch.cat(
            [pooled(self.model.get_text_features(input_ids=some)) for some in self.tokens.split(_TEXTS_AT_ONCE)]
        )
        each = F.normalize(features.float(), dim=-1).unflatten(0, (self._num_classes, len(self.templates)))
        return F.normalize(each.mean(1), dim=-1)

    def _read(self, classes: Sequence[str]) -> Tensor:
        if not classes:
            raise ValueError("ZeroShot: a model that reads names has no classes of its own; give it their names.")
        for template in self.templates:
            if "{name}" not in template:
                raise ValueError(f"ZeroShot: the template {template!r} has no {{name}} in it.")
        names = [name.replace("_", " ") for name in classes]
        texts = [template.replace("{name}", name) for name in names for template in self.templates]
        longest = self.model.config.text_config.max_position_embeddings
        # All as long as the text tower reads: SigLIP was trained so, and CLIP looks at nothing after the end.
        read = self.tokenizer(texts, padding="max_length", max_length=longest, truncation=False)["input_ids"]
        for text, tokens in zip(texts, read, strict=True):
            if len(tokens) > longest:
                raise ValueError(
                    f"ZeroShot: {text!r} has {len(tokens)} tokens, the text tower reads {longest}; shorten the name."
                )
        return torch.tensor(read)


def pooled(features: Any) -> Float[Tensor, "N D"]:
    """The features themselves: transformers 5 wraps them into an output, transformers 4 did not."""
    return features if isinstance(features, Tensor) else features.pooler_output


def reads_names(config: Any) -> bool:
    """Whether a transformers configuration is that of a model that compares images with texts.

    Raises:
        ValueError: If it is one of a kind that is not supported.
    """
    heads = [name for name in config.architectures or [] if name.endswith("ForImageClassification")]
    if heads or not hasattr(config, "text_config"):
        return False
    if config.model_type not in ("clip", "siglip"):
        raise ValueError(
            f"load_classifier: a {config.model_type} model compares images with texts in a way of its own that is not "
            "supported; CLIP and SigLIP are, and whatever transformers knows as an image classifier."
        )
    return True
