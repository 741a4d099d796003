import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from tiny_backbones import tiny_clip, tiny_vit, tokenizer
from wherenot import explain
from wherenot.dropping import find_patch_tokens
from wherenot.models import Preprocess, ZeroShot, build_classifier, load_classifier, train_only
from wherenot.models.clip import pooled, reads_names
from wherenot.regions import Grid

NAMES = ["tabby_cat", "dog", "mug"]
IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return str(tiny_clip(tmp_path_factory.mktemp("clip")))


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    return str(tiny_clip(tmp_path_factory.mktemp("siglip"), "siglip"))


def both(name):
    return pytest.mark.parametrize(name, ["clip", "siglip"])


@both("kind")
def test_logits_are_those_of_the_whole_model(kind, request):
    """transformers' own image-text comparison, texts padded to the longest only for CLIP."""
    from transformers import AutoModel

    path = request.getfixturevalue(kind)
    classifier = load_classifier(path, classes=NAMES)
    model = AutoModel.from_pretrained(path)
    texts = ["a photo of a tabby cat.", "a photo of a dog.", "a photo of a mug."]
    padding = {"padding": True} if kind == "clip" else {"padding": "max_length", "max_length": 48}
    words = tokenizer()(texts, return_tensors="pt", **padding)
    if kind == "siglip":
        del words["attention_mask"]
    with torch.no_grad():
        theirs = model(pixel_values=IMAGES, **words).logits_per_image
    assert torch.allclose(classifier(IMAGES), theirs, atol=1e-4)
    assert classifier.architecture == "zero-shot"
    assert classifier.classes == tuple(NAMES)
    assert not classifier.training


def test_several_templates_are_averaged_after_normalisation(clip):
    templates = ["a photo of a {name}.", "{name}, 12 pixels", "my {name}"]
    classifier = load_classifier(clip, classes=NAMES, templates=templates)
    model = classifier.network.model
    expected = []
    for name in ("tabby cat", "dog", "mug"):
        total = torch.zeros(12)
        for template in templates:
            words = tokenizer()(template.format(name=name), return_tensors="pt")
            feature = model.get_text_features(**words).pooler_output[0].detach()
            total += feature / feature.norm()
        expected.append(total / total.norm())
    assert torch.allclose(classifier.network.text_features, torch.stack(expected), atol=1e-5)


def test_long_lists_of_texts_are_read_in_pieces(clip, monkeypatch):
    from wherenot.models import clip as module

    whole = load_classifier(clip, classes=NAMES).network.text_features
    monkeypatch.setattr(module, "_TEXTS_AT_ONCE", 2)
    assert torch.allclose(load_classifier(clip, classes=NAMES).network.text_features, whole, atol=1e-6)


def test_features_are_unwrapped_whatever_transformers_returns(clip):
    features = torch.ones(1, 2)
    assert pooled(features) is features
    network = load_classifier(clip, classes=NAMES).network
    new, original = network(IMAGES), network.model.get_image_features
    network.model.get_image_features = lambda **inputs: original(**inputs).pooler_output  # as transformers 4 did
    assert torch.equal(network(IMAGES), new)


def test_the_comparison_runs_in_single_precision_under_autocast(clip):
    network = load_classifier(clip, classes=NAMES).network
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = network(IMAGES)
        rounded = pooled(network.model.get_image_features(pixel_values=IMAGES))
    assert rounded.dtype == torch.bfloat16
    assert logits.dtype == torch.float32
    scale = network.model.logit_scale.exp()
    assert torch.allclose(logits, F.normalize(rounded.float(), dim=1) @ network.text_features.T * scale, atol=1e-5)


@both("kind")
def test_save_and_load(kind, request, tmp_path):
    built = build_classifier(request.getfixturevalue(kind), classes=NAMES, templates=["my {name}", "a {name}"]).eval()
    with torch.no_grad():
        next(built.network.model.vision_model.parameters()).mul_(1.5)
    built.preprocess = built.preprocess.whole()
    built.save(tmp_path / "run" / "model")
    loaded = load_classifier(str(tmp_path / "run"), classes=["what", "ever"])
    assert (loaded.classes, loaded.preprocess) == (built.classes, built.preprocess)
    assert loaded.network.templates == ("my {name}", "a {name}")
    assert torch.allclose(loaded(IMAGES), built(IMAGES), atol=1e-5)
    assert not list((tmp_path / "run" / "model").glob("*.bin"))


def test_half_precision_checkpoints_are_read_in_single(clip, tmp_path):
    from transformers import CLIPModel

    tiny_clip(tmp_path)
    CLIPModel.from_pretrained(clip).half().save_pretrained(tmp_path)
    classifier = load_classifier(str(tmp_path), classes=NAMES)
    assert {weight.dtype for weight in classifier.parameters()} == {torch.float32}


def test_the_processor_of_the_hub_is_read(clip):
    own = Preprocess.from_processor(
        {"crop_size": {"height": 32, "width": 32}, "do_center_crop": True, "size": {"shortest_edge": 32}, "resample": 3,
         "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
    )  # fmt: skip
    assert load_classifier(clip, classes=NAMES).preprocess == own
    assert own.whole().short_side is None
    assert own.whole()(Image.new("RGB", (64, 32))).shape == (3, 32, 32)


@both("kind")
def test_names_sentences_and_kinds_that_cannot_be_used_are_refused(kind, request):
    path = request.getfixturevalue(kind)
    with pytest.raises(ValueError, match="has no classes of its own; give their names"):
        load_classifier(path)
    with pytest.raises(ValueError, match=r"'an animal' has no \{name\}"):
        build_classifier(path, classes=NAMES, templates=["an animal"])
    with pytest.raises(ValueError, match=r"ooooo.*5\d tokens, the text tower reads 48"):
        build_classifier(path, classes=["cat", "o" * 40])
    with pytest.raises(ValueError, match="leave out '@96'"):
        build_classifier(f"{path}@96", classes=NAMES)


def test_only_models_that_compare_with_texts_read_names(tmp_path):
    from transformers import AutoConfig, CLIPConfig, Siglip2Config

    assert not reads_names(AutoConfig.from_pretrained(tiny_vit(tmp_path)))
    assert reads_names(CLIPConfig())
    assert not reads_names(CLIPConfig(architectures=["CLIPForImageClassification"]))
    with pytest.raises(ValueError, match="siglip2 model compares"):
        reads_names(Siglip2Config())


def test_text_features_are_fresh_while_the_text_tower_trains_and_after(clip):
    classifier = build_classifier(clip, classes=NAMES)
    network = classifier.network
    calls = []
    network.model.text_model.register_forward_hook(lambda *_: calls.append(1))
    network(IMAGES)
    assert not calls
    train_only(classifier, "full")
    calls.clear()
    before = network(IMAGES)
    assert calls
    with torch.no_grad():
        for weight in network.model.text_model.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    after = network(IMAGES)
    assert not torch.allclose(before, after, atol=1e-2)
    train_only(classifier, "vision")
    calls.clear()
    assert torch.allclose(network(IMAGES), after, atol=1e-5)
    assert not calls
    assert not network.text_features.requires_grad


def test_clip_is_explained_also_with_dropped_patches(clip):
    classifier = load_classifier(clip, classes=NAMES)
    assert isinstance(classifier.network, ZeroShot)
    tokens = find_patch_tokens(classifier, IMAGES)
    assert (tokens.rows, tokens.columns, tokens.others) == (4, 4, 1)
    for fill in ("mean", "drop"):
        [evidence] = explain(
            classifier, IMAGES[:1], regions=Grid(2, 2), fill=fill, normalization=classifier.normalization
        )
        assert sorted(evidence.order.tolist()) == [0, 1, 2, 3]
        assert evidence.full == pytest.approx(classifier(IMAGES[:1]).softmax(1).max().item(), abs=1e-5)
