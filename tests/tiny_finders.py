"""Zero-shot detectors and segmenters of the real classes at a tiny size, saved as a hub serves them."""

import json

from tiny_backbones import tokenizer
from toys import seeded

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
MEAN_STD = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", ",", "a", "photo", "of", "cat", "dog", "red", "blue", "square"]


def clip_words(longest=16):
    words = tokenizer()
    words.model_max_length = longest
    return words


def towers(longest=16, side=32):
    words = clip_words(longest)
    text = {
        **SMALL, "vocab_size": len(words), "max_position_embeddings": longest, "pad_token_id": words.pad_token_id,
        "eos_token_id": words.eos_token_id, "bos_token_id": words.bos_token_id,
    }  # fmt: skip
    return words, text, {**SMALL, "image_size": side, "patch_size": 8}


def tiny_owl(folder, version=2):
    """An OWLv2, or an OWL-ViT."""
    import transformers as hf

    name = "Owlv2" if version == 2 else "OwlViT"
    words, text, vision = towers()
    config = getattr(hf, f"{name}Config")(text_config=text, vision_config=vision, projection_dim=16)
    seeded(lambda: getattr(hf, f"{name}ForObjectDetection")(config)).save_pretrained(folder)
    processing = getattr(hf, f"{name}ImageProcessorPil")(size={"height": 32, "width": 32}, **MEAN_STD)
    getattr(hf, f"{name}Processor")(processing, words).save_pretrained(folder)
    return folder


def tiny_grounding_dino(folder, prefix=""):
    """A Grounding DINO, or with the prefix MM one of MMDetection: a Swin, a BERT, and one layer of all in between."""
    import transformers as hf

    words = hf.BertTokenizer(vocab={word: place for place, word in enumerate(WORDS)})
    config = getattr(hf, f"{prefix}GroundingDinoConfig")(
        backbone_config=hf.SwinConfig(
            image_size=64, patch_size=4, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
            out_indices=[2, 3, 4],
        ),
        text_config=hf.BertConfig(**SMALL, vocab_size=len(WORDS), max_position_embeddings=32),
        d_model=32, encoder_layers=1, decoder_layers=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
        encoder_attention_heads=2, decoder_attention_heads=2, num_queries=12, num_feature_levels=4, max_text_len=32,
        disable_custom_kernels=True,
    )  # fmt: skip
    seeded(lambda: getattr(hf, f"{prefix}GroundingDinoForObjectDetection")(config)).save_pretrained(folder)
    processing = hf.GroundingDinoImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96}, **MEAN_STD)
    hf.GroundingDinoProcessor(processing, words).save_pretrained(folder)
    return folder


def tiny_clipseg(folder):
    """A CLIPSeg."""
    import transformers as hf

    words, text, vision = towers(longest=24)
    config = hf.CLIPSegConfig(
        text_config=text, vision_config=vision, projection_dim=12, extract_layers=[0, 1], reduce_dim=8,
        decoder_num_attention_heads=2, decoder_intermediate_size=16, conditional_layer=0,
    )  # fmt: skip
    seeded(lambda: hf.CLIPSegForImageSegmentation(config)).save_pretrained(folder)
    processing = hf.ViTImageProcessorPil(size={"height": 32, "width": 32}, **MEAN_STD)
    hf.CLIPSegProcessor(processing, words).save_pretrained(folder)
    return folder


def tiny_sam2(folder):
    """A SAM 2 on 64 x 64 pixels."""
    import transformers as hf

    backbone = hf.Sam2HieraDetConfig(
        hidden_size=8, num_attention_heads=1, blocks_per_stage=[1, 1, 2, 1], embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 2, 2], window_size_per_stage=[4, 4, 4, 4], global_attention_blocks=[3],
        image_size=[64, 64], window_positional_embedding_background_size=[4, 4],
    )  # fmt: skip
    config = hf.Sam2Config(
        vision_config=hf.Sam2VisionConfig(
            backbone_config=backbone, backbone_channel_list=[64, 32, 16, 8], fpn_hidden_size=16,
            backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
        ),
        prompt_encoder_config=hf.Sam2PromptEncoderConfig(hidden_size=16, image_size=64, patch_size=16),
        mask_decoder_config=hf.Sam2MaskDecoderConfig(
            hidden_size=16, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=16,
        ),
    )  # fmt: skip
    seeded(lambda: hf.Sam2Model(config)).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({**MEAN_STD, "size": {"height": 64, "width": 64}}))
    return folder
