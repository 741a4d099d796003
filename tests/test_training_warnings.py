"""Each sign of a training run that went wrong, on histories made by hand: when it speaks and when it must not."""

import math

import pytest

from wherenot.train.history import Epoch, History, read_steps
from wherenot.train.signs import run_warnings


def epochs(accuracies, confidences=None):
    confidences = accuracies if confidences is None else confidences
    return tuple(
        Epoch(epoch=float(number), accuracy=accuracy, loss=1.0, confidence=confidence)
        for number, (accuracy, confidence) in enumerate(zip(accuracies, confidences, strict=True), start=1)
    )


def steps(*quarters, size=5, every=10, **constant):
    """Diagnostics, `size` steps per quarter with the same values."""
    return tuple(
        {"step": every * (size * quarter + row + 1), "task_loss": 1.0, **constant, **values}
        for quarter, values in enumerate(quarters)
        for row in range(size)
    )


def history(**changes):
    """A healthy run, but for what changes."""
    return History(**{"epochs": epochs([0.6, 0.8, 0.9]), "num_validation": 200, "chance": 0.1, **changes})


def kinds(**changes):
    return [warning.kind for warning in run_warnings(history(**changes))]


def test_a_healthy_run_has_none():
    assert kinds() == []
    assert kinds(epochs=()) == []
    assert kinds(epochs=epochs([0.1]), num_validation=5) == []


class TestAccuracyFell:
    def test_says_how_far_and_on_how_many_images(self):
        [warning] = run_warnings(history(epochs=epochs([0.6, 0.95, 0.7], [0.5, 0.7, 0.7])))
        assert warning.kind == "accuracy_fell"
        assert warning.seen == (
            "Validation accuracy fell from 95% (epoch 2) to 70% (epoch 3); measured on 200 images, that is a fall of "
            "at least 17 points (95% interval)."
        )
        assert "optimization.learning_rate" in warning.advice
        assert "method" not in warning.advice

    @pytest.mark.parametrize(("n", "expected"), [(10, []), (40, []), (120, ["accuracy_fell"])])
    def test_few_images_do_not_show_it(self, n, expected):
        assert kinds(epochs=epochs([0.9, 0.75], [0.7, 0.7]), num_validation=n) == expected

    def test_a_small_fall_is_not_worth_a_word_on_any_number_of_images(self):
        assert kinds(epochs=epochs([0.9, 0.885], [0.7, 0.7]), num_validation=10**6) == []

    def test_the_best_of_many_epochs_is_high_by_chance(self):
        fell = [0.9, 0.75]
        assert kinds(epochs=epochs(fell, [0.7] * 2), num_validation=140) == ["accuracy_fell"]
        assert kinds(epochs=epochs([0.75] * 40 + fell, [0.7] * 42), num_validation=140) == []

    def test_a_dip_that_is_made_up_for(self):
        assert kinds(epochs=epochs([0.9, 0.2, 0.9])) == []

    def test_a_run_that_keeps_its_best_epoch_says_so(self):
        [warning] = run_warnings(
            history(
                epochs=epochs([0.9, 0.6], [0.6, 0.6]), keeps_best=True, method="rrr", steps=steps({"rrr_images": 3.0})
            )
        )
        assert "kept the weights of epoch 1" in warning.seen
        assert "optimization.keep" not in warning.advice
        assert "method.weight" in warning.advice
        assert "finetune" in warning.advice


class TestConfidenceCollapsed:
    def test_it_fell_far(self):
        [warning] = run_warnings(
            history(
                epochs=epochs([0.9, 0.9, 0.9], [0.5, 0.85, 0.6]),
                method="log",
                confidence_above=0.75,
                steps=steps({"aligned": 3.0}),
            )
        )
        assert warning.kind == "confidence_collapsed"
        assert "200 validation images went from 85% (epoch 2) to 60% (epoch 3), while 90% are right." in warning.seen
        assert "looks only at images with more than 75%" in warning.seen
        assert "confidence_above" in warning.advice

    def test_it_stopped_rising_far_below_the_accuracy(self):
        assert kinds(epochs=epochs([0.9, 0.9], [0.52, 0.5])) == ["confidence_collapsed"]

    def test_a_young_model_is_unsure(self):
        assert kinds(epochs=epochs([0.89, 0.95], [0.48, 0.6])) == []

    def test_a_little_less_sure(self):
        assert kinds(epochs=epochs([0.9, 0.9], [0.9, 0.82])) == []

    def test_few_images_do_not_show_it(self):
        assert kinds(epochs=epochs([0.9, 0.9], [0.85, 0.6]), num_validation=20) == []

    def test_a_confidence_that_is_no_number(self):
        assert kinds(epochs=epochs([0.1, 0.1], [math.nan, math.nan])) == []
        assert kinds(epochs=epochs([0.1, 0.1], [0.9, math.nan])) == []


class TestNotFinite:
    def test_the_first_step_is_named(self):
        lines = [
            {"step": 10, "loss": 0.7, "grad_norm": math.inf},
            {"step": 15, "task_loss": 0.5, "aligned": 4.0, "deviation": math.inf},
            {"step": 20, "loss": math.nan},
            {"step": 20, "eval_loss": math.nan, "eval_accuracy": 0.1},
        ]
        acted, found = read_steps(lines)
        assert found == ((15, "deviation"), (20, "loss"), (20, "eval_loss"))
        [warning] = run_warnings(history(method="log", steps=acted, not_finite=found))
        assert warning.kind == "not_finite"
        assert "The method's deviation was not a finite number at step 15, the first of 2 logged steps" in warning.seen
        assert "bf16" in warning.advice

    def test_gradients_may_overflow(self):
        assert read_steps([{"step": 1, "grad_norm": math.nan}])[1] == ()

    def test_other_rules_look_at_what_is_left(self):
        rows = [
            {**step, "deviation": math.nan, "redundancy": 1.0, "top_off_prior": math.nan}
            for step in steps({}, {}, {}, {})
        ]
        assert kinds(method="log", steps=tuple({**row, "aligned": 4.0} for row in rows)) == []


def test_a_resumed_run_counts_each_step_once():
    lines = [{"step": 10, "task_loss": 1.0, "aligned": 1.0}, {"step": 20, "task_loss": math.nan, "aligned": 2.0}]
    lines += [{"step": 15, "loss": 1.0}, {"step": 20, "task_loss": 1.0, "aligned": 3.0}, {"step": 20, "loss": 0.5}]
    acted, found = read_steps(lines)
    assert [(step["step"], step["aligned"]) for step in acted] == [(10, 1.0), (20, 3.0)]
    assert found == ()


class TestNeverActed:
    def test_no_image_passed_the_gate(self):
        [warning] = run_warnings(history(method="log", confidence_above=0.75, steps=steps({"aligned": 0.0}, size=3)))
        assert warning.kind == "never_acted"
        assert "in 3 steps no image that has a prior was predicted right with more than 75%" in warning.seen

    def test_no_image_had_a_prior(self):
        [warning] = run_warnings(history(method="rrr", steps=steps({"rrr_images": 0.0})))
        assert "no image had a prior" in warning.seen

    def test_the_run_was_over_before(self):
        [warning] = run_warnings(history(method="log"))
        assert "interval is longer than the run" in warning.seen

    def test_one_image_is_enough(self):
        assert kinds(method="log", steps=steps({"aligned": 0.0}, {"aligned": 1.0}, size=1)) == []
        assert kinds(method="wherenot", steps=steps({"recomposed": 3.0, "plain": 1.0}, size=1)) == []


class TestGateClosed:
    def test_many_then_hardly_any(self):
        [warning] = run_warnings(
            history(
                method="log",
                confidence_above=0.75,
                steps=steps({"aligned": 4.0}, {"aligned": 16.0}, {"aligned": 8.0}, {"aligned": 0.4}),
            )
        )
        assert warning.kind == "gate_closed"
        assert warning.seen == (
            "Hardly any image passes the gate any more: 0.4 per acting step, right with more than 75%, in steps "
            "160 to 200, after 16.0 in steps 60 to 100."
        )

    @pytest.mark.parametrize("counts", [(4, 16, 16, 16), (16, 16, 16, 8), (0, 0, 0, 0.2), (0.4, 0.4, 0.4, 0)], ids=str)
    def test_fewer_are_not_hardly_any_and_few_show_nothing(self, counts):
        assert kinds(method="log", steps=steps(*({"aligned": float(count)} for count in counts))) == []

    def test_too_short_to_tell(self):
        quarters = [{"aligned": float(count)} for count in (16, 16, 16, 0)]
        assert kinds(method="log", steps=steps(*quarters, size=1)) == []
        assert kinds(method="log", steps=steps(*quarters, size=2)) == ["gate_closed"]


class TestEvidence:
    @staticmethod
    def aligned(*shares, size=5, count=16.0):
        return steps(*({"top_off_prior": share} for share in shares), size=size, aligned=count)

    def test_it_stays_off(self):
        [warning] = run_warnings(history(method="log", steps=self.aligned(0.6, 0.7, 0.7, 0.7)))
        assert warning.kind == "evidence_stays_off"
        assert "off it in 70% of the 80 aligned images of steps 160 to 200, in 60% in steps 10 to 50." in warning.seen

    @pytest.mark.parametrize("shares", [(0.9, 0.8, 0.7, 0.65), (0.1, 0.2, 0.3, 0.3), (0.4, 0.5, 0.5, 0.55)], ids=str)
    def test_it_falls_or_is_off_in_a_minority_or_nobody_can_tell(self, shares):
        assert kinds(method="log", steps=self.aligned(*shares)) == []

    def test_few_images_show_nothing(self):
        assert kinds(method="log", steps=self.aligned(0.7, 0.7, 0.7, 0.7, size=2, count=4.0)) == []

    @staticmethod
    def losses(deviations, redundancies, size=6):
        """Losses per quarter, each step a little different."""
        rows = steps(
            *({"deviation": d, "redundancy": r} for d, r in zip(deviations, redundancies, strict=True)),
            size=size, aligned=16.0, top_off_prior=0.2,
        )  # fmt: skip
        return tuple(
            {**row, "deviation": row["deviation"] * (1 + 0.01 * i), "redundancy": row["redundancy"] * (1 + 0.01 * i)}
            for i, row in enumerate(rows)
        )

    def test_it_scatters(self):
        [warning] = run_warnings(history(method="log", steps=self.losses((1.0, 0.5, 0.2, 0.1), (0.2, 0.4, 0.6, 0.8))))
        assert warning.kind == "evidence_scatters"
        assert "deviation loss fell from 1 to 0.12" in warning.seen
        assert "redundancy_weight" in warning.advice

    @pytest.mark.parametrize(
        ("deviations", "redundancies"),
        [
            ((1.0, 0.5, 0.2, 0.1), (0.8, 0.8, 0.7, 0.6)),
            ((1.0, 1.0, 1.0, 1.0), (0.2, 0.4, 0.6, 0.8)),
            ((1.0, 0.5, 0.2, 0.1), (0.5, 0.5, 0.5, 0.55)),
        ],
        ids=["both fall", "both grow", "grows a little"],
    )
    def test_it_does_not_scatter(self, deviations, redundancies):
        assert kinds(method="log", steps=self.losses(deviations, redundancies)) == []

    def test_scattering_in_few_steps_is_chance(self):
        assert kinds(method="log", steps=self.losses((1.0, 0.5, 0.2, 0.1), (0.2, 0.4, 0.6, 0.8), size=3)) == []


class TestRecomposed:
    @staticmethod
    def shown(recomposed, plain, size=5):
        last = {"accuracy_recomposed": recomposed, "accuracy_plain": plain}
        return steps(
            {}, {}, {}, last, size=size, recomposed=48.0, plain=16.0, accuracy_recomposed=0.1, accuracy_plain=0.1
        )

    def test_plain_images_alone_are_learned(self):
        [warning] = run_warnings(history(method="wherenot", steps=self.shown(0.12, 0.7)))
        assert warning.kind == "recomposed_not_learned"
        assert "in steps 160 to 200 12% of them were right, of the plain ones 70%; guessing gets 10%" in warning.seen

    @pytest.mark.parametrize(("recomposed", "plain"), [(0.5, 0.8), (0.1, 0.3), (0.9, 0.9), (0.1, 0.1)])
    def test_both_are_learned_or_neither(self, recomposed, plain):
        assert kinds(method="wherenot", steps=self.shown(recomposed, plain)) == []

    def test_guessing_gets_more_where_one_class_is_frequent(self):
        assert kinds(method="wherenot", steps=self.shown(0.55, 0.7), chance=0.55) == []
        assert kinds(method="wherenot", steps=self.shown(0.55, 0.95), chance=0.55) == ["recomposed_not_learned"]

    def test_without_plain_images_nobody_can_tell(self):
        rows = steps({}, {}, {}, {}, recomposed=64.0, plain=0.0, accuracy_recomposed=0.1)
        assert kinds(method="wherenot", steps=rows) == []

    def test_priors_that_disagree(self):
        acted = steps({"recomposed": 3.0}, size=1)
        priors = {"given": 40, "kept": 2, "replaced": 38, "added": 0, "agreement": 0.61}
        [warning] = run_warnings(history(method="wherenot", steps=acted, priors=priors))
        assert warning.kind == "priors_disagree"
        assert "median of 0.61" in warning.seen
        assert "38 of 40 were drawn anew" in warning.seen
        for better in ({"agreement": 0.9}, {"given": 9}, {"agreement": None, "given": 0}):
            assert kinds(method="wherenot", steps=acted, priors={**priors, **better}) == []


def test_several_signs_come_together():
    found = kinds(
        method="log", epochs=epochs([0.9, 0.3], [0.9, 0.3]), not_finite=((3, "loss"),), steps=steps({"aligned": 0.0})
    )
    assert found == ["not_finite", "accuracy_fell", "confidence_collapsed", "never_acted"]
