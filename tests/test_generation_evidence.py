import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from golden_cases import GOLDEN
from wherenot.evidence import Evidence
from wherenot.generation_evidence import GenerationEvidence
from wherenot.objective import EVALUATION, Objective
from wherenot.search import Memo, Request, greedy_search
from wherenot.token_score import TokenScore

G24, G26 = GOLDEN["G24_eagle_F"], GOLDEN["G26_modality"]
Q_INS, Q_DEL = [0.9, 0.4], [0.5, 0.2]


def found(objective=EVALUATION):
    """G26: three regions of a quarter, a quarter and a half of the image; two tokens, the second a formality."""
    curves = np.array([[0.05, 0.9, 0.95, 0.9], [0.97, 0.98, 0.99, 0.98]])
    insertion, deletion = curves[:, 1:].T, np.array([[0.2, 0.9], [0.1, 0.95], [0.05, 0.97]])
    means, rest = insertion.mean(1), deletion.mean(1)
    empty, full = curves[:, 0], curves[:, -1]
    a, b = objective.insertion, objective.deletion
    evidence = Evidence(
        labels=np.array([[2, 0, 1, 1]]), order=np.array([0, 2, 1]), insertion=means, deletion=rest,
        values=a * means + b * (1 - rest), empty=float(empty.mean()), full=float(full.mean()),
        empty_value=float(a * empty.mean() + b * (1 - full.mean())),
        full_value=float(a * full.mean() + b * (1 - empty.mean())),
        target=-1, objective=objective, forwards=8, search="exact", fill="black",
    )  # fmt: skip
    return GenerationEvidence(
        evidence=evidence, prompt="Wo?", pieces=("<", " Stränd", "."), chosen=(1, 2), targets=(" Stränd", "."),
        insertion=insertion, deletion=deletion, empty=empty, full=full,
    )  # fmt: skip


class PaperReader:
    """Two answers about two numbers; probabilities straight from a table of what is visible."""

    num_tokens = [2, 1]  # noqa: RUF012

    def __init__(self):
        self.shown = []

    def __call__(self, pixels):
        rows = []
        for copy in pixels[:, 0].tolist():  # three channels, two numbers
            self.shown.append(tuple(copy))
            first, second = copy[0] == 1.0, copy[1] == 1.0
            golden = {(True, False): Q_INS, (False, True): Q_DEL, (True, True): [0.95, 0.5], (False, False): [0.1, 0.1]}
            rows.append([*golden[first, second], 0.8 if second else 0.3])
        return torch.tensor(rows, dtype=torch.float64)


def test_areas_influence_and_sensitivity_golden():
    assert found().evidence.areas.tolist() == [0.25, 0.5, 1.0]
    assert found().influence.tolist() == pytest.approx(G26["I"], abs=1e-12)
    assert found().sensitive.tolist() == G26["sensitive"]


def test_influence_starts_at_the_empty_image_and_is_not_measured_from_it():
    falls = replace(found(), empty=np.array([1.0, 1.0]))
    curve = np.array([1.0, 0.9, 0.95, 0.9])
    expected = sum((left + right) / 2 * width for left, right, width in zip(curve, curve[1:], [0.25, 0.25, 0.5]))  # noqa: B905
    assert falls.influence[0] == pytest.approx(expected - 0.9)
    constant = replace(found(), insertion=np.full((3, 2), 0.4), empty=np.full(2, 0.4))
    assert constant.influence.tolist() == pytest.approx([0, 0], abs=1e-12)


def test_a_fall_of_exactly_the_threshold_is_not_sensitive():
    assert replace(found(), empty=np.array([0.0, 0.0]), full=np.array([0.2, 0.21])).sensitive.tolist() == [False, True]


@pytest.mark.parametrize("objective", [EVALUATION, Objective(2.0, 1.0)])
def test_evidence_of_one_token(objective):
    of = found(objective).of_token(2)
    assert of.insertion.tolist() == [0.98, 0.99, 0.98]
    assert of.deletion.tolist() == [0.9, 0.95, 0.97]
    assert (of.empty, of.full) == (0.97, 0.98)
    a, b = objective.insertion, objective.deletion
    assert of.values.tolist() == pytest.approx([a * 0.98 + b * 0.1, a * 0.99 + b * 0.05, a * 0.98 + b * 0.03])
    assert of.empty_value == pytest.approx(a * 0.97 + b * 0.02)
    assert of.full_value == pytest.approx(a * 0.98 + b * 0.03)
    assert of.order.tolist() == [0, 2, 1]
    both = [found(objective).of_token(place).values for place in (1, 2)]
    assert np.mean(both, axis=0) == pytest.approx(found(objective).evidence.values)  # F is a mean over tokens
    with pytest.raises(ValueError, match=r"token 0 was not chosen; chosen are \[1, 2\]"):
        found().of_token(0)


def test_the_answer_and_its_sentence():
    assert found().answer == "< Stränd."
    assert found().sentence() == "'< Stränd.' - the image decides 'Stränd'"
    assert replace(found(), empty=found().full).sentence().endswith("the image decides none of its tokens")


def test_save_and_load(tmp_path):
    saved = found(Objective(2.0, 1.0))
    saved.save(tmp_path / "one.npz")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["one.json", "one.npz", "one.tokens.json"]
    loaded = GenerationEvidence.load(tmp_path / "one")
    assert (loaded.prompt, loaded.pieces, loaded.chosen, loaded.targets) == (
        saved.prompt, saved.pieces, saved.chosen, saved.targets,
    )  # fmt: skip
    for name in ("insertion", "deletion", "empty", "full", "influence", "sensitive"):
        assert np.array_equal(getattr(loaded, name), getattr(saved, name)), name
    assert loaded.evidence.objective == saved.evidence.objective
    assert np.array_equal(loaded.evidence.labels, saved.evidence.labels)
    assert "Stränd" in (tmp_path / "one.tokens.json").read_text()


def test_files_that_are_missing_or_broken_are_named(tmp_path):
    with pytest.raises(ValueError, match="one holds none that can be read"):
        GenerationEvidence.load(tmp_path / "one")
    found().save(tmp_path / "one")
    facts = json.loads((tmp_path / "one.tokens.json").read_text())
    (tmp_path / "one.tokens.json").write_text(json.dumps({**facts, "chosen": None}))
    with pytest.raises(ValueError, match="one holds none that can be read"):
        GenerationEvidence.load(tmp_path / "one")
    (tmp_path / "one.tokens.json").write_text(json.dumps({name: facts[name] for name in facts if name != "full"}))
    with pytest.raises(ValueError, match="'full'"):
        GenerationEvidence.load(tmp_path / "one")


def token_score(**options):
    reader = PaperReader()
    score = TokenScore(reader, torch.ones(3, 2), torch.tensor([[0, 1]] * 3), torch.zeros(3, 2), **options)
    return score, reader


@pytest.mark.parametrize("chunk", [None, 1, 3])
def test_readings_are_means_of_probabilities_and_then_the_tokens(chunk):
    forwards = []
    score, reader = token_score(chunk=chunk, on_forward=forwards.append)
    keep = torch.tensor([[True, False], [False, True], [True, True], [False, False]])
    readings = score(torch.zeros(4, dtype=torch.long), keep)
    assert reader.shown == [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.0, 0.0)]
    assert readings.shape == (4, 2 + 3)
    assert readings[0].tolist() == pytest.approx([G24["ins"], 0.3, *Q_INS, 0.3])
    assert readings[1].tolist() == pytest.approx([G24["dele"], 0.8, *Q_DEL, 0.8])
    assert readings[0, 0] != pytest.approx(G24["geo_mean_ins"])
    assert sum(forwards) == score.forwards == 4
    assert max(forwards) <= (chunk or 4)
    assert score(torch.zeros(0, dtype=torch.long), keep[:0]).shape == (0, 5)


def test_the_objective_on_tokens_golden():
    score, _ = token_score()
    memo = Memo(score, [2], device=torch.device("cpu"))
    first, second = greedy_search(memo, EVALUATION, targets=2)
    assert first.order.tolist() == [0, 1]
    assert first.values[0] == pytest.approx(G24["F"])
    assert second.order.tolist() == [1, 0]  # the other answer rests on the other region
    [ends] = memo.ask([Request(0, [0, memo.everything(0)])])
    assert ends <= 2


def test_gradients_of_the_objective_golden():
    logits = {name: torch.tensor(q, dtype=torch.float64).logit() for name, q in (("ins", Q_INS), ("dele", Q_DEL))}
    for logit in logits.values():
        logit.requires_grad_()
    reading = {name: torch.stack([z, torch.zeros_like(z)], 1).softmax(1)[:, 0].mean() for name, z in logits.items()}
    value = EVALUATION(reading["ins"], reading["dele"])
    value.backward()
    assert value.item() == pytest.approx(G24["F"])
    assert logits["ins"].grad.tolist() == pytest.approx(G24["dF_dlogit_ins"], abs=1e-6)
    assert logits["dele"].grad.tolist() == pytest.approx(G24["dF_dlogit_del"], abs=1e-6)


class ShortOfMemory(PaperReader):
    """Refuses more than one copy at once."""

    def __call__(self, pixels):
        if len(pixels) > 1:
            raise torch.OutOfMemoryError
        return super().__call__(pixels)


def test_copies_are_halved_when_memory_runs_out_and_keep_their_order():
    reader = ShortOfMemory()
    score = TokenScore(reader, torch.ones(3, 2), torch.tensor([[0, 1]] * 3), torch.zeros(3, 2), chunk=4)
    keep = torch.tensor([[True, False], [False, True], [True, True]])
    assert score(torch.zeros(3, dtype=torch.long), keep)[:, 0].tolist() == pytest.approx([0.65, 0.35, 0.725])
    with pytest.raises(ValueError, match="chunk must be >= 1"):
        token_score(chunk=0)
