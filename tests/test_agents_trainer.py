"""The trainer of agents: the same gradients however a step is cut into batches, layers recompute, ranks share."""

import pytest
import torch

from launches import FSDP2, launch

pytest.importorskip("trl")
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),  # by peft
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.*"),
    pytest.mark.filterwarnings("ignore:`gradient_checkpointing"),
]


def run(*arguments, **options):
    from agent_runs import one_step

    return one_step(*arguments, **options)


ROUNDING = 3e-6  # of sums in fp32 in another order; 1.1e-6 has been seen


def far(ours, theirs):
    """The largest difference of two sets of gradients, as a share of the largest gradient."""
    assert ours.keys() == theirs.keys()
    largest = max(float(each.abs().max()) for each in theirs.values())
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours) / largest


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(tmp_path_factory.mktemp("whole"), size=4)


def test_gradients_are_those_of_the_losses_spelled_out(tmp_path, whole):
    from agent_runs import NAMES, clicks
    from wherenot.gui.clicks import prepare_click
    from wherenot.gui.penalties import Necessity

    gradients, [told], trainer = whole
    vlm = trainer.vlm
    vlm.wrapped.eval()  # no dropout here, and nothing else that depends on the mode
    samples = clicks(("train",)).samples
    tokens, total = 0, 0.0
    for sample in samples:
        encoding = vlm.encode(sample.read_image(), sample.prompt)
        ids = [*vlm.answer_ids(encoding, vlm.frame[0] + sample.right), *vlm.frame[1]]
        inputs = vlm.family.longer(encoding.inputs, torch.tensor(ids))
        logits = vlm.model.forward(**inputs).logits[0, encoding.num_tokens - 1 : -1]
        total = total - logits.log_softmax(-1)[range(len(ids)), ids].sum()
        tokens += len(ids)
    task = total / tokens
    penalty = Necessity(weight=30.0, interval=1, tokens="all", right_above=-1.0)(
        vlm, [prepare_click(vlm, sample) for sample in samples], step=1
    )
    vlm.wrapped.zero_grad()
    (task + penalty.loss).backward()
    expected = {name: weight.grad for name, weight in vlm.wrapped.named_parameters() if weight.grad is not None}
    assert far(gradients, expected) < 1e-5  # another order of the same sums
    assert max(float(each.abs().max()) for each in expected.values()) > 1e-3
    assert told == {
        "task_loss": pytest.approx(task.item(), abs=1e-5), "aligned": len(NAMES), "penalised": len(NAMES),
        "penalty": pytest.approx(penalty.log["penalty"], abs=1e-6),
    }  # fmt: skip


@pytest.mark.parametrize(("size", "accumulation"), [(1, 4), (2, 2)])
@pytest.mark.parametrize("names", [("red", "green", "blue", "yellow"), ("blue",), ()])
def test_accumulating_changes_nothing(tmp_path, size, accumulation, names):
    one, [told], _ = run(tmp_path, size=4, names=names)
    cut, [again], _ = run(tmp_path, size=size, accumulation=accumulation, names=names)
    assert far(one, cut) < ROUNDING
    assert told == pytest.approx(again, abs=1e-5)
    assert told["penalised"] == len(names)


@pytest.mark.parametrize(("size", "accumulation"), [(1, 4), (2, 2)])
def test_the_same_tasks_are_looked_at_however_a_step_is_cut(tmp_path, size, accumulation):
    one, [told], _ = run(tmp_path, size=4, most=2)
    cut, [again], _ = run(tmp_path, size=size, accumulation=accumulation, most=2)
    assert told["aligned"] == told["penalised"] == 2
    assert far(one, cut) < ROUNDING
    assert told == pytest.approx(again, abs=1e-5)


def test_a_penalty_changes_gradients(tmp_path, whole):
    plain, told, _ = run(tmp_path, weight=0.0)
    assert told == []
    assert far(whole[0], plain) > 1e-4


def test_accumulating_where_transformers_counts_no_tokens(tmp_path, monkeypatch):
    """The mixin alone: task losses are means of batches, penalties must still be those of the step."""
    from wherenot.train.agents.trainer import AgentTrainer

    def of_the_penalty(**options):
        with_it, plain = (run(tmp_path, weight=weight, **options)[0] for weight in (30.0, 0.0))
        return {name: with_it[name] - plain[name] for name in with_it}

    expected = of_the_penalty(size=4)
    made = AgentTrainer.__init__

    def uncounted(self, *arguments, **options):
        made(self, *arguments, **options)
        self.model_accepts_loss_kwargs = False

    monkeypatch.setattr(AgentTrainer, "__init__", uncounted)
    assert far(of_the_penalty(size=1, accumulation=4), expected) < 1e-5


@pytest.mark.parametrize("family", ["llava", "qwen3_vl"])
def test_layers_that_recompute_give_the_same_gradients(tmp_path, family):
    kept, _, _ = run(tmp_path, family=family)
    recomputed, _, trainer = run(tmp_path, family=family, gradient_checkpointing=True)
    assert trainer.vlm.model.is_gradient_checkpointing
    assert far(kept, recomputed) < ROUNDING


def test_layers_recompute_in_eval_mode_what_they_computed_there(tmp_path):
    """Dropout would tell: the penalty is computed without, the task loss with it."""
    from agent_runs import clicks
    from wherenot.gui.clicks import prepare_click
    from wherenot.gui.penalties import Necessity, penalties_of
    from wherenot.scoring import evaluating
    from wherenot.train.agents.trainer import recomputing

    _, _, trainer = run(tmp_path, gradient_checkpointing=True, dropout=0.5, weight=0.0)
    vlm = trainer.vlm
    vlm.wrapped.train()
    found = Necessity(tokens="all", right_above=-1.0).find(vlm, [prepare_click(vlm, clicks().samples[0])], step=1)
    gradients, computed = [], []
    layer = vlm.model.model.language_model.layers[0].mlp.up_proj
    hook = layer.register_forward_hook(lambda *_: computed.append(layer.training))
    for again in (False, True):
        vlm.wrapped.zero_grad()
        computed.clear()
        with evaluating(vlm.wrapped):
            if again:
                with recomputing(vlm.model):
                    loss = penalties_of(vlm, found.off).sum()
            else:
                loss = penalties_of(vlm, found.off).sum()
        assert vlm.wrapped.training
        loss.backward()
        assert computed == [False, False] if again else computed == [False]
        gradients.append({n: w.grad.clone() for n, w in vlm.wrapped.named_parameters() if w.grad is not None})
    hook.remove()
    assert far(*gradients) < ROUNDING


def test_what_cannot_be_asked_past_its_wrapper_is_refused(tmp_path, whole, monkeypatch):
    from accelerate import DistributedType

    trainer = whole[2]
    monkeypatch.setattr(type(trainer.accelerator), "distributed_type", DistributedType.FSDP)
    with pytest.raises(ValueError, match="use FSDP version 2"):
        trainer._find([], 1)


LAYERS = FSDP2 | {"FSDP_TRANSFORMER_CLS_TO_WRAP": "LlamaDecoderLayer,CLIPEncoderLayer"}
SPREAD = [("red,green,blue,yellow", True, 3), ("blue", False, None)]


@pytest.mark.parametrize(("names", "share", "most"), SPREAD)
def test_two_processes_make_the_gradients_of_one(tmp_path, names, share, most):
    """With one task that is off, one of them has nothing to penalise."""
    together(tmp_path, {}, names=tuple(names.split(",")), share=share, most=most)


@pytest.mark.slow
@pytest.mark.parametrize(("names", "cut"), [("blue", {"size": 2}), ("red,blue", {"size": 1, "accumulation": 2})])
def test_a_sharded_model_makes_the_gradients_of_a_whole_one(tmp_path, names, cut):
    together(tmp_path, LAYERS, names=tuple(names.split(",")), **cut)


def together(place, settings, *, most=None, size=2, **options):
    launch("agent_runs", place, settings=settings, most=most, size=size, **options)
    expected, [told], _ = run(place, size=4, names=options["names"], most=most)
    assert told["aligned"] == (most or 4)
    for rank in range(2):
        found, [said], sharded = torch.load(place / f"{rank}.pt")
        assert sharded == bool(settings)
        assert far(found, expected) < ROUNDING
        assert said == pytest.approx(told, abs=1e-5)


@pytest.mark.slow
def test_a_sharded_run_ends_as_a_plain_one(tmp_path):
    from wherenot.models import load_vlm
    from wherenot.models.tiny_vlms import tiny_vlm

    for part in tiny_vlm("llava"):
        part.save_pretrained(tmp_path / "base")
    for name, settings in (("plain", {}), ("sharded", LAYERS)):
        launch("agent_runs", tmp_path, name, settings=settings, base=str(tmp_path / "base"))
    plain, sharded = (
        dict(load_vlm(tmp_path / name / "model").model.named_parameters()) for name in ("plain", "sharded")
    )
    assert all(torch.allclose(sharded[name], plain[name], atol=1e-4) for name in plain)
    assert max(float(weight.abs().max()) for name, weight in plain.items() if "lora_B" in name) > 1e-3
    lines = [(tmp_path / name / "validation.jsonl").read_text() for name in ("plain", "sharded")]
    assert lines[0] == lines[1]
