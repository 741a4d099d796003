"""Backbones of the real architectures at a tiny size, saved as a hub serves them."""

import json
import string

from toys import seeded

# What the hub's preprocessor_config.json of the paper's three backbones says, with a smaller input.
CLIP_PROCESSOR = {
    "crop_size": 32, "do_center_crop": True, "do_normalize": True, "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711], "resample": 3, "size": 32,
}  # fmt: skip
VIT_PROCESSOR = {
    "do_normalize": True, "do_resize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": 32,
    "feature_extractor_type": "ViTFeatureExtractor", "resample": 2,
}  # fmt: skip
RESNET_PROCESSOR = {
    "crop_pct": 0.875, "do_normalize": True, "do_resize": True, "feature_extractor_type": "ConvNextFeatureExtractor",
    "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "resample": 3, "size": 32,
}  # fmt: skip
SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def tokenizer():
    """CLIP's tokenizer with letters for a vocabulary: every word falls apart into its letters."""
    from transformers import CLIPTokenizer

    letters = [*string.ascii_lowercase, *string.digits, ".", ","]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: index for index, token in enumerate(tokens)}, merges=[])


def tiny_clip(folder, kind="clip"):
    """A CLIP (or SigLIP) with two layers in each tower."""
    from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

    words = tokenizer()
    text = {
        **SMALL, "vocab_size": len(words), "max_position_embeddings": 48,
        "eos_token_id": words.eos_token_id, "bos_token_id": words.bos_token_id,
    }  # fmt: skip
    vision = {**SMALL, "image_size": 32, "patch_size": 8}
    if kind == "clip":
        config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=12, logit_scale_init_value=4.0)
        model = seeded(lambda: CLIPModel(config))
    else:
        model = seeded(lambda: SiglipModel(SiglipConfig(text_config=text, vision_config=vision)))
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(CLIP_PROCESSOR))
    return folder


def tiny_vit(folder):
    """A ViT with two layers and a head for three classes."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(**SMALL, image_size=32, patch_size=8, id2label=dict(enumerate(["cat", "dog", "mug"])))
    seeded(lambda: ViTForImageClassification(config)).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(VIT_PROCESSOR))
    return folder


def tiny_resnet(folder):
    """A ResNet of bottleneck blocks, as ResNet-101 has them."""
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[16, 32], depths=[1, 2], layer_type="bottleneck",
        id2label=dict(enumerate(["cat", "dog", "mug"])),
    )  # fmt: skip
    seeded(lambda: ResNetForImageClassification(config)).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(RESNET_PROCESSOR))
    return folder


BUILDERS = {"clip": tiny_clip, "vit": tiny_vit, "resnet": tiny_resnet}
