"""Tiny vision models of transformers, built from configurations with random weights."""

import torch
from torch import nn

from toys import seeded

SIDE, PATCH = 32, 8
TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": SIDE, "patch_size": PATCH}
TEXT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 12,
    "bos_token_id": 0,
    "eos_token_id": 1,
}


class Logits(nn.Module):
    """A transformers model, called as the library calls models."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model(pixel_values=images).logits


class ZeroShot(nn.Module):
    """CLIP as a classifier: cosines with one text per class, times a scale."""

    def __init__(self, clip, scale):
        super().__init__()
        self.clip = clip
        self.scale = scale
        with torch.no_grad():
            texts = clip.get_text_features(torch.tensor([[0, 3, 4, 1], [0, 5, 6, 1], [0, 7, 8, 1]])).pooler_output
        self.register_buffer("texts", nn.functional.normalize(texts, dim=-1))

    def forward(self, images):
        features = self.clip.get_image_features(pixel_values=images).pooler_output
        return self.scale * nn.functional.normalize(features, dim=-1) @ self.texts.T


class CastsItself(nn.Module):
    """Runs in bfloat16 whatever stands around it, as accelerate makes models do."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, batch):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.model(batch).float()


def family(name, *, attention=None, scale=100.0):
    """A model in eval mode with three classes; CLIP averages its patches, CLIPZeroShot reads its class token."""
    import transformers

    wide = {**TINY, "intermediate_size": 32}
    clip = {"vision_config": wide, "text_config": TEXT}
    configs = {
        "ViT": lambda: transformers.ViTConfig(**wide, num_labels=3),
        "DeiT": lambda: transformers.DeiTConfig(**wide, num_labels=3),
        "DeiTTeacher": lambda: transformers.DeiTConfig(**wide, num_labels=3),
        "CLIP": lambda: transformers.CLIPConfig(**clip, num_labels=3),
        "CLIPZeroShot": lambda: transformers.CLIPConfig(**clip, projection_dim=8),
        "Siglip": lambda: transformers.SiglipConfig(**clip, num_labels=3),
        "Dinov2": lambda: transformers.Dinov2Config(**TINY, num_labels=3),
        "Dinov2WithRegisters": lambda: transformers.Dinov2WithRegistersConfig(**TINY, num_labels=3),
        "Swin": lambda: transformers.SwinConfig(
            image_size=SIDE, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 1], window_size=4, num_labels=3
        ),
        "ResNet": lambda: transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic", num_labels=3
        ),
    }
    config = configs[name]()
    if attention is not None:
        config._attn_implementation = attention
    if name == "CLIPZeroShot":
        return ZeroShot(seeded(lambda: transformers.CLIPModel(config)).eval(), scale).eval()
    build = {"DeiTTeacher": "DeiTForImageClassificationWithTeacher"}.get(name, f"{name}ForImageClassification")
    return seeded(lambda: Logits(getattr(transformers, build)(config))).eval()


def images(count=2):
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
