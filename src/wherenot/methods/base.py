"""What training hands to a method, and what a method gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor, nn

from wherenot.priors import Prior
from wherenot.spreading import Images, Spread


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One training batch after the task's own forward.

    Attributes:
        images: What the model was shown, in the model's input space.
        targets: The labels, one per image.
        logits: The task forward's output, still in the autograd graph; methods only read it to decide whom to align.
        priors: One prior per image on the grid of `images`; None where nobody gave one.
        labels: Region label maps, one per image; None lets a method cut the images itself.

    Example:
        >>> import torch
        >>> images = torch.rand(2, 3, 4, 4)
        >>> batch = Batch(images=images, targets=torch.tensor([0, 1]), logits=torch.zeros(2, 5), priors=[None, None])
    """

    images: Float[Tensor, "B C H W"]
    targets: Int[Tensor, " B"]
    logits: Float[Tensor, "B L"]
    priors: Sequence[Prior | None]
    labels: Int[Tensor, "B H W"] | None = None


@dataclass(frozen=True)
class Terms:
    """What a method adds to the task loss of one step.

    Attributes:
        loss: Weighted and ready to add; a constant zero when the method had nothing to say.
        log: Diagnostics for the step, each a number.
        parts: The loss as a sum of weighted means, each with the number of examples that it is the mean of (0 where
            there was none), so that several processes can make the mean over the examples of all. Empty: not known,
            and each process weighs the same.

    Example:
        >>> import torch
        >>> Terms(torch.tensor(0.5), {"deviation": 1.0}).loss
        tensor(0.5000)
    """

    loss: Float[Tensor, ""]
    log: dict[str, float] = field(default_factory=dict)
    parts: tuple[tuple[Float[Tensor, ""], int], ...] = ()


@runtime_checkable
class Method(Protocol):
    """Anything training can add to the task loss: alignment, a baseline or a control.

    Two attributes spare work where a model lies on several devices: ``interval``, for a method that acts at steps
    divisible by it, and ``asks_model``, False for one that never calls the model.
    """

    def __call__(self, model: nn.Module, batch: Batch, step: int) -> Terms:
        """Return the terms for `batch` at 1-based optimizer step `step`; the model's mode is left as found."""
        ...


@runtime_checkable
class WholeStep(Method, Protocol):
    """A method that looks at all batches of an optimizer step joined, for its loss is a mean over what it finds there.

    It acts at steps divisible by `interval`, so batches of others need not be kept.
    """

    @property
    def interval(self) -> int:
        """It acts at optimizer steps divisible by this, counted from 1."""
        ...

    @property
    def joins_batches(self) -> bool:
        """Whether it does so."""
        ...


@runtime_checkable
class Preparing(Method, Protocol):
    """A method that prepares training, too: it chooses the priors beforehand and the images at every step."""

    def spread(
        self,
        model: nn.Module,
        images: Images,
        priors: Sequence[Prior | None],
        *,
        batch_size: int,
        on_images: Callable[[int], None] | None = None,
    ) -> Spread:
        """Return the priors of the whole training split, in its order; called once, before the first step.

        `on_images` is called with the number of images after each batch.
        """
        ...

    def augment(
        self, images: Float[Tensor, "B C H W"], priors: Sequence[Prior | None], step: int
    ) -> Float[Tensor, "B C H W"]:
        """Return the images that the task's own forward of optimizer step `step` is to see; arguments stay as found."""
        ...
