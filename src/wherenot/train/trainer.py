"""Training on top of `transformers.Trainer`: a mixin that adds a method to any trainer of an image classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import torch
import torch.nn.functional as F
from accelerate.utils import gather_object
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset as TorchDataset
from transformers import Trainer

from wherenot.data import Dataset
from wherenot.methods import Batch, Method, Preparing, Terms, WholeStep
from wherenot.models import Preprocess
from wherenot.priors import Prior
from wherenot.regions import label_maps
from wherenot.spreading import PriorsOnDemand
from wherenot.train.checkpoints import CheckpointMixin
from wherenot.train.guards import NotFiniteMixin
from wherenot.train.sharding import check_sharding, unsharded
from wherenot.types import Partition

_KEPT_BYTES = 256 * 2**20


class OwnPriors(PriorsOnDemand):
    """The priors that samples have, on the model's input, read when they are asked for."""

    def __init__(self, dataset: Dataset, preprocess: Preprocess) -> None:
        self._samples = dataset.samples
        self._preprocess = preprocess

    def __len__(self) -> int:
        return len(self._samples)

    def at(self, index: int) -> Prior | None:
        """Return a prior; None where the sample has none, or the crop leaves nothing of it."""
        prior = self._samples[index].read_prior()
        return prior and self._preprocess.prior(prior)


class ImageSet(TorchDataset[dict[str, Any]]):
    """Samples as a trainer wants them: model input, label, prior and, with a partition, the regions of the image.

    Images are cut where they are read, in the workers of the data loader. A set small enough to stay in memory (256 MB
    of model input) is read once and kept.
    """

    def __init__(self, dataset: Dataset, preprocess: Preprocess, partition: Partition | None = None) -> None:
        self._samples = dataset.samples
        self._preprocess = preprocess
        self._partition = partition
        self._kept: dict[int, dict[str, Any]] = {}
        self.own_priors = OwnPriors(dataset, preprocess)
        self._drawn: Sequence[Prior | None] | None = None
        self._keeps = len(dataset.samples) * preprocess.height * preprocess.width * 12 <= _KEPT_BYTES

    def __len__(self) -> int:
        return len(self._samples)

    def use_priors(self, priors: Sequence[Prior | None]) -> None:
        """Take these priors, one per sample on the model's input, instead of the samples' own."""
        if len(priors) != len(self):
            raise ValueError(f"ImageSet.use_priors: {len(self)} samples need as many priors, got {len(priors)}.")
        self._drawn = priors
        self._kept = {index: {**item, "priors": priors[index]} for index, item in self._kept.items()}

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Read one sample, with its own prior or the one to use instead."""
        if index in self._kept:
            return self._kept[index]
        sample = self._samples[index]
        pixel_values = self._preprocess(sample.read_image())
        item = {
            "ids": sample.id,
            "pixel_values": pixel_values,
            "labels": sample.label,
            "priors": (self.own_priors if self._drawn is None else self._drawn)[index],
        }
        if self._partition is not None and item["priors"] is not None:
            item["regions"] = label_maps(pixel_values[None], self._partition, self._preprocess.normalization)[0].short()
        if self._keeps:
            self._kept[index] = item
        return item


class ModelInputs:
    """What a model sees of the samples of a set, several at a time."""

    def __init__(self, images: ImageSet) -> None:
        self._images = images

    def __getitem__(self, indices: list[int]) -> Float[Tensor, "_ C H W"]:
        return torch.stack([self._images[index]["pixel_values"] for index in indices])


def collate(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Stack images, labels and regions; priors, and the names of samples if there are any, stay a list.

    An image without a prior has one region: nobody will ask for its evidence.
    """
    images = torch.stack([item["pixel_values"] for item in items])
    batch = {
        "pixel_values": images,
        "labels": torch.tensor([item["labels"] for item in items]),
        "priors": [item["priors"] for item in items],
    }
    if all("ids" in item for item in items):
        batch["ids"] = [item["ids"] for item in items]
    if any("regions" in item for item in items):
        one = torch.zeros(images.shape[-2:], dtype=torch.short)
        batch["regions"] = torch.stack([item.get("regions", one) for item in items])
    return batch


class TaskModel(nn.Module):
    """A classifier with the task loss, in the shape that `Trainer` calls.

    In train mode a BatchNorm layer whose weights do not train stays in eval mode: its statistics would move, and with
    them what the frozen weights after it see.

    Args:
        classifier: Gives logits.
        freeze_batchnorm: Keep every BatchNorm layer in eval mode. Their scale and shift train as before.
        ask_exactly: Answer a method's questions in full precision, also where the task runs in half: `Trainer` puts
            autocast inside the model, where a method that needs full precision cannot switch it off.
    """

    def __init__(self, classifier: nn.Module, *, freeze_batchnorm: bool = False, ask_exactly: bool = False) -> None:
        super().__init__()
        self.classifier = classifier
        self._freeze_batchnorm = freeze_batchnorm
        self._ask_exactly = ask_exactly
        self.register_state_dict_post_hook(_contiguous)

    def forward(
        self, pixel_values: Float[Tensor, "B C H W"], labels: Int[Tensor, " B"] | None = None
    ) -> dict[str, Tensor]:
        """Return logits, and the mean cross-entropy if labels are given."""
        if labels is None:
            device = pixel_values.device.type
            lowered = torch.is_autocast_enabled(device) and not self._ask_exactly
            with torch.autocast(device, enabled=lowered):
                return {"logits": self.classifier(pixel_values)}
        logits = self.classifier(pixel_values)
        return {"loss": F.cross_entropy(logits.float(), labels), "logits": logits}

    def train(self, mode: bool = True) -> TaskModel:
        """Set the mode, as a trainer does before every step, but for frozen BatchNorm layers."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                weights = list(module.parameters())
                if self._freeze_batchnorm or (weights and not any(weight.requires_grad for weight in weights)):
                    module.eval()
        return self


def _contiguous(module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:  # noqa: ARG001
    """Checkpoints hold weights in the usual layout, whatever that of the network: safetensors takes no other."""
    for name, value in state.items():
        if isinstance(value, Tensor):
            state[name] = value.contiguous()


class LogitsOf(nn.Module):
    """Asks a model that is called with ``pixel_values`` for its logits alone, as methods do."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N L"]:
        """Return the logits."""
        output = self.model(pixel_values=images)
        return output["logits"]


class MethodMixin:
    """Adds a method's terms to the task loss of a `Trainer`: put it before the trainer class.

    Batches bring ``priors``, a list with one `Prior` or None per image, beside ``pixel_values`` and ``labels``; the
    model never sees it; nor ``regions``, label maps, nor ``ids``, names of samples, which are optional. With gradient
    accumulation the terms weigh the same as without: a `WholeStep` method is asked once, with the last batch of a step
    and about all of them. On several processes, plain or sharded by FSDP2, each asks the model about its own images, in
    as many forwards as it needs, and the terms are the means over the examples of all. A term that is no finite number
    is left out of its batch, and the diagnostics say so: ``skipped`` 1.

    Attributes:
        method: What is added; None adds nothing.
        on_terms: Called with the step and the diagnostics of each step on which the method acted; on several processes
            in each, about its own images.

    Example:
        >>> class AlignedTrainer(MethodMixin, Trainer):
        ...     pass
    """

    method: Method | None = None
    on_terms: Callable[[int, dict[str, float]], None] | None = None
    accelerator: Any  # this and the following are the trainer's
    state: Any
    current_gradient_accumulation_steps: Any
    model_accepts_loss_kwargs: Any
    _asked: LogitsOf | None = None
    _kept: tuple[tuple[Batch, Tensor], ...] = ()  # batches of the step that were not looked at yet, and task losses

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Task loss plus the method's terms; during evaluation the task loss alone."""
        inputs = dict(inputs)
        priors: list[Prior | None] = inputs.pop("priors", None) or [None] * len(inputs["labels"])
        regions: Tensor | None = inputs.pop("regions", None)
        inputs.pop("ids", None)
        step = self.state.global_step + 1
        if isinstance(self.method, Preparing) and model.training:
            inputs["pixel_values"] = self.method.augment(inputs["pixel_values"], priors, step)
        loss, outputs = super().compute_loss(  # pyright: ignore[reportAttributeAccessIssue]
            model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch
        )
        if self.method is not None and model.training and step % getattr(self.method, "interval", 1) == 0:
            batch = Batch(
                images=inputs["pixel_values"],
                targets=inputs["labels"],
                logits=outputs["logits"],
                priors=priors,
                labels=None if regions is None else regions.long(),
            )
            # Trainer divides the loss by the accumulation steps unless the model has already done so; then the
            # model's own loss is scaled and ours is not.
            scaled = self.model_accepts_loss_kwargs and num_items_in_batch is not None
            loss = self._with_terms(model, batch, loss, scaled=scaled)
        return (loss, outputs) if return_outputs else loss

    def get_batch_samples(self, *arguments: Any, **options: Any) -> Any:
        """The batches of an optimizer step; of one that was broken off nothing is kept."""
        self._kept = ()
        return super().get_batch_samples(*arguments, **options)  # pyright: ignore[reportAttributeAccessIssue]

    def _with_terms(self, model: nn.Module, batch: Batch, loss: Tensor, *, scaled: bool) -> Tensor:
        """The task loss of a batch and what the method adds to it, if it does so yet."""
        assert self.method is not None
        check_sharding(self.accelerator)
        task_loss, share = loss.detach(), 1 / self.current_gradient_accumulation_steps
        if isinstance(self.method, WholeStep) and self.method.joins_batches:
            self._kept = (*self._kept, (replace(batch, logits=batch.logits.detach()), task_loss))
            if not self.accelerator.sync_gradients:
                return loss
            losses = torch.stack([each for _, each in self._kept])
            task_loss, share = losses.sum() if scaled else losses.mean(), 1.0
            batch, self._kept = _joined([each for each, _ in self._kept]), ()
        step = self.state.global_step + 1
        # The plain wrapper for several processes would have them wait for each other in each forward, for buffers.
        model = model.module if isinstance(model, DistributedDataParallel) else model
        # One wrapper for all steps: what is measured of a model once is remembered with it.
        if self._asked is None or self._asked.model is not model:
            self._asked = LogitsOf(model)
        asks = getattr(self.method, "asks_model", True)
        with unsharded(model) if asks else nullcontext():
            terms = _without_nan(self.method(self._asked, batch, step))
            # Who asks nothing adds nothing that the processes would have to wait for each other to weigh.
            added = share * (self._over_processes(terms) if asks else terms.loss)
            if isinstance(model, FSDPModule):
                if added.requires_grad:
                    self.accelerator.backward(added)
                added = added.detach()
        if self.on_terms is not None and terms.log:
            self.on_terms(step, {"task_loss": float(task_loss), **terms.log})
        return loss + (added if scaled else added * self.current_gradient_accumulation_steps)

    def _over_processes(self, terms: Terms) -> Tensor:
        """The loss whose mean over processes is that of the examples of all of them."""
        if self.accelerator.num_processes == 1:
            return terms.loss
        counts = gather_object([[count for _, count in terms.parts]])
        totals = [sum(column) for column in zip_longest(*counts, fillvalue=0)]
        if not totals:
            return terms.loss
        parts = zip(terms.parts, totals, strict=False)  # terms that were left out have no parts
        means = [mean * (count * len(counts) / total) for (mean, count), total in parts if count]
        return torch.stack(means).sum() if means else terms.loss.detach() * 0


def _joined(batches: Sequence[Batch]) -> Batch:
    """The batches of an optimizer step as one."""
    if len(batches) == 1:
        return batches[0]
    shapes = {tuple(batch.images.shape[1:]) for batch in batches}
    if len(shapes) > 1:
        raise ValueError(
            f"MethodMixin: the batches of a step must have images of one shape, got {sorted(shapes)}; give them one, "
            "or train without gradient accumulation."
        )
    maps = [batch.labels for batch in batches if batch.labels is not None]
    if len(maps) < len(batches) and maps:  # no image of a batch has a prior, so nobody asks for its regions
        one = torch.zeros_like(maps[0][:1])
        maps = [one.expand(len(batch.images), -1, -1) if batch.labels is None else batch.labels for batch in batches]
    return Batch(
        images=torch.cat([batch.images for batch in batches]),
        targets=torch.cat([batch.targets for batch in batches]),
        logits=torch.cat([batch.logits for batch in batches]),
        priors=[prior for batch in batches for prior in batch.priors],
        labels=torch.cat(maps) if maps else None,
    )


def _without_nan(terms: Terms) -> Terms:
    """The terms, or none of them if their sum is no finite number; a step without diagnostics has a constant 0."""
    if not terms.log or bool(terms.loss.isfinite()):
        return terms
    return Terms(terms.loss.new_zeros(()), {**terms.log, "skipped": 1.0})


class ClassificationTrainer(MethodMixin, NotFiniteMixin, CheckpointMixin, Trainer):
    """`Trainer` with a method."""
