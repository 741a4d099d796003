"""Evidence for answers, end to end on tiny models: right order, shared forwards, bad input, the command line."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from chat_server import ChatServer, serving
from wherenot.cli import main
from wherenot.explain_generation import Question, explain_generation, explain_questions
from wherenot.generation_evidence import GenerationEvidence
from wherenot.given_regions import from_boxes
from wherenot.models import VisionLanguageModel
from wherenot.models.answers import AnswerReader, Asked
from wherenot.models.tiny_vlms import tiny_vlm
from wherenot.objective import Objective
from wherenot.regions import Grid
from wherenot.search import Fast

IMAGE = Image.fromarray(astronaut()).resize((112, 84))


@pytest.fixture(scope="module")
def vlm():
    return VisionLanguageModel(*tiny_vlm("qwen2_5_vl"))


def greedy_by_hand(vlm, labels, question, a=1.0, b=1.0):
    """EAGLE as its paper says it: hide pixels of the picture, run the processor, one forward at a time."""
    ids = vlm.answer_ids(vlm.encode(IMAGE, question), "a red hen")

    def mean_q(keep):
        shown = Image.fromarray(np.asarray(IMAGE) * np.isin(labels, list(keep))[..., None].astype(np.uint8))
        encoding = vlm.encode(shown, question)
        with torch.no_grad():
            asked = Asked(encoding, tuple(ids), tuple(range(len(ids))), tuple(ids))
            return AnswerReader(vlm, [asked], reuse=False)(encoding.inputs["pixel_values"][None]).mean().item()

    everything, order, values = set(range(labels.max() + 1)), [], []
    while len(order) < len(everything):
        gains = {
            region: a * mean_q({*order, region}) + b * (1 - mean_q(everything - {*order, region}))
            for region in sorted(everything - set(order))
        }
        best = max(gains, key=gains.__getitem__)
        order.append(best)
        values.append(gains[best])
    return order, values


def test_the_order_is_that_of_hiding_pixels_of_the_picture_one_forward_at_a_time(vlm):
    # Regions of whole patches, in an image that the processor does not resize: hiding before and after it are the same.
    labels = Grid(1, 4)(np.asarray(IMAGE))
    found = explain_generation(vlm, IMAGE, "What is this?", answer="a red hen", regions=labels)
    order, values = greedy_by_hand(vlm, labels, "What is this?")
    assert found.evidence.order.tolist() == order
    assert np.abs(found.evidence.values - values).max() < 1e-4


def test_the_mean_of_the_tokens_is_what_was_climbed(vlm):
    found = explain_generation(
        vlm, IMAGE, "What?", answer="a hen", regions=Grid(2, 3), objective=Objective(2.0, 0.5), tokens="1:"
    )
    assert np.allclose(found.evidence.insertion, found.insertion.mean(1))
    assert np.allclose(found.evidence.deletion, found.deletion.mean(1))
    assert np.allclose(found.evidence.values, 2 * found.insertion.mean(1) + 0.5 * (1 - found.deletion.mean(1)))
    assert found.evidence.full == pytest.approx(found.full.mean())
    assert found.chosen[0] == 1


def test_several_questions_share_forwards_and_equal_each_alone(vlm):
    questions = [Question(prompt="What is this?", answer="a hen"), Question(prompt="Where?", answer="there, see")]
    together = explain_questions(vlm, IMAGE, questions, regions=Grid(2, 3))
    alone = [explain_generation(vlm, IMAGE, each.prompt, answer=each.answer, regions=Grid(2, 3)) for each in questions]
    for one, other in zip(together, alone, strict=True):
        assert one.evidence.order.tolist() == other.evidence.order.tolist()
        assert np.abs(one.insertion - other.insertion).max() < 1e-5
    shared = sum(each.evidence.forwards for each in together)
    assert shared < sum(each.evidence.forwards for each in alone)


def test_a_counter_word_turns_the_question_round(vlm):
    plain = explain_generation(vlm, IMAGE, "A cat?", answer="yes", tokens="0", regions=Grid(1, 3))
    counter = explain_generation(vlm, IMAGE, "A cat?", answer="yes", counter="no", regions=Grid(1, 3))
    assert counter.chosen == (0,)
    assert counter.targets != plain.targets
    assert counter.answer == plain.answer == "yes"
    assert counter.evidence.full != plain.evidence.full


def test_what_it_generates_is_explained_when_no_answer_is_given(vlm):
    found = explain_generation(vlm, IMAGE, "What is this?", regions=Grid(1, 2), max_tokens=5)
    encoding = vlm.encode(IMAGE, "What is this?")
    assert found.answer == vlm.text(vlm.generate(encoding, max_tokens=5))
    assert (found.full > 0.01).all(), "it was the likeliest token at every step"


def test_fast_search_boxes_and_a_limit(vlm):
    labels = from_boxes([[5, 5, 40, 30], [60, 40, 100, 80]], 84, 112, background=Grid(3, 3))
    found = explain_generation(
        vlm, IMAGE, "What?", answer="a hen", regions=labels, search=Fast(), max_regions=3, fill="mean"
    )
    assert len(found.evidence.order) == 3
    assert found.insertion.shape == (3, len(found.chosen))
    assert found.evidence.fill == "mean"


def test_results_are_read_back(vlm, tmp_path):
    found = explain_generation(vlm, IMAGE, "What?", answer="a hen", regions=Grid(1, 3))
    found.save(tmp_path / "one")
    again = GenerationEvidence.load(tmp_path / "one")
    assert again.pieces == found.pieces
    assert again.chosen == found.chosen
    assert np.array_equal(again.insertion, found.insertion)
    assert np.array_equal(again.influence, found.influence)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"answer": ""}, "has no token"),
        ({"answer": "yes", "tokens": "word:no"}, "names no token"),
        ({"answer": "yes", "counter": "yes"}, "contradicts nothing"),
        ({"answer": "yes", "regions": np.zeros((84, 112), dtype=np.int64)}, "single region"),
        ({"answer": "yes", "fill": "drop"}, "black, mean or blur"),
        ({"answer": "yes", "chunk": 0}, "chunk must be"),
    ],
)
def test_bad_input_is_refused(vlm, options, message):
    with pytest.raises(ValueError, match=message):
        explain_generation(vlm, IMAGE, "What?", **{"regions": Grid(1, 2), **options})


def test_no_question_is_refused(vlm):
    with pytest.raises(ValueError, match="needs a question"):
        explain_questions(vlm, IMAGE, [])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("vlm")
    model, processor = tiny_vlm("qwen2_5_vl")
    model.save_pretrained(path / "model")
    processor.save_pretrained(path / "model")
    IMAGE.save(path / "shot.png")
    (path / "boxes.json").write_text("[[5, 5, 40, 30], [60, 40, 100, 80]]")
    return path


def command(folder, *options):
    return main(["explain", str(folder / "shot.png"), "--model", str(folder / "model"), "--prompt", "What?", *options])


def test_the_command_line_explains_an_answer(folder, tmp_path, capsys):
    options = ("--answer", "a hen", "--boxes", str(folder / "boxes.json"), "--search", "fast", "--max-regions", "3")
    assert command(folder, *options, "--out", str(tmp_path), "--json") == 0
    out, said = capsys.readouterr()
    assert json.loads(out)["says"] == "a hen"
    assert "'a hen' - the image decides" in said
    assert str(tmp_path / "shot.png") in said
    with Image.open(tmp_path / "shot.png") as picture:
        assert picture.width > 600
    tokens = json.loads((tmp_path / "shot.tokens.json").read_text())
    assert "".join(tokens["pieces"]) == "a hen"
    assert GenerationEvidence.load(tmp_path / "shot").evidence.num_regions > 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--answer", "yes", "--target", "cat"), "--target and --classes are for classifiers"),
        (("--answer", "yes", "--tokens", "word:no"), "names no token"),
        (("--answer", "yes", "--boxes", "missing.json"), "missing.json cannot be read as JSON"),
    ],
)
def test_the_command_line_names_what_is_wrong(folder, tmp_path, capsys, options, message):
    assert command(folder, *options, "--out", str(tmp_path / "out")) == 1
    assert message in capsys.readouterr().err.replace("\n", " ")


def test_answers_need_a_prompt(folder, capsys):
    assert main(["explain", str(folder / "shot.png"), "--model", "efficientnet-lite0", "--answer", "yes"]) == 1
    assert "give --prompt" in capsys.readouterr().err


def test_the_command_line_explains_through_an_endpoint(vlm, folder, tmp_path, capsys):
    with serving(ChatServer(vlm)) as url:
        options = (
            "--prompt",
            "What?",
            "--answer",
            "a hen",
            "--tokens",
            "0",
            "--partition",
            "grid:1x3",
            "--parallel",
            "2",
        )
        status = main(
            [
                "explain",
                str(folder / "shot.png"),
                "--endpoint",
                url,
                "--model",
                "tiny",
                *options,
                "--out",
                str(tmp_path),
            ]
        )
    said = capsys.readouterr()
    assert status == 0, said.err
    assert "At most" in said.out
    found = GenerationEvidence.load(tmp_path / "shot")
    direct = explain_generation(vlm, IMAGE, "What?", answer="a hen", tokens="0", regions=Grid(1, 3))
    assert found.evidence.order.tolist() == direct.evidence.order.tolist()
    assert (tmp_path / "shot.readings.jsonl").is_file()
