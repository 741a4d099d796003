"""RRR: right for the right reasons, a penalty on input gradients outside the prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from wherenot.maps import Differentiated, input_gradient
from wherenot.methods.map_penalty import MapPenalty

Form = Literal["mean_logit", "sum_log_prob", "log_prob"]

_DIFFERENTIATED: dict[Form, Differentiated] = {
    "mean_logit": "logit",
    "sum_log_prob": "sum_log_prob",
    "log_prob": "log_prob",
}


def rrr_loss(
    gradient: Float[Tensor, "B C H W"],
    inside: Bool[Tensor, "B H W"],
    *,
    form: Form = "mean_logit",
) -> Float[Tensor, ""]:
    r"""Squared input gradients outside the prior.

    With the gradient $g$ of one score per image and $m = 1$ inside the prior, for "mean_logit"

    $$L = \frac{1}{BCHW} \sum_{b,c,h,w} (1 - m)\, g^2$$

    and for the two others, which belong to log-probabilities, the sum over the values of an image:

    $$L = \frac{1}{B} \sum_b \sum_{c,h,w} \big((1 - m)\, g\big)^2$$

    0 means that no pixel outside the prior moves the score; there is no upper bound. The loss grows with the square
    of the gradient, so a flatter score lowers it too. A prior that covers the image gives 0.

    Args:
        gradient: Signed gradient (`maps.input_gradient`), in the graph if the loss is to train anything.
        inside: True where evidence may lie, on the pixels of `gradient`.
        form: Which reduction; "sum_log_prob" and "log_prob" differ in the gradient, not here.

    Returns:
        Loss in [0, inf), in squared score per squared unit of input, with the dtype of `gradient`.

    Raises:
        ValueError: If `form` is unknown or the prior is not on the pixels of `gradient`.

    Example:
        >>> import torch
        >>> gradient = torch.tensor([[[[3.0, -2.0]]]])
        >>> inside = torch.tensor([[[True, False]]])
        >>> rrr_loss(gradient, inside), rrr_loss(gradient, inside, form="log_prob")
        (tensor(2.), tensor(4.))

    References:
        Ross et al., "Right for the Right Reasons", IJCAI 2017, Eq. 1: "sum_log_prob", there summed over images, here
        their mean so that the weight does not depend on the batch size. "mean_logit" is the baseline of
        "Where Not to Learn" (authors' code), whose weight of 0.1 belongs to it.
    """
    if form not in get_args(Form):
        raise ValueError(f"rrr_loss: form must be one of {get_args(Form)}, got {form!r}.")
    batch, _, height, width = gradient.shape
    if inside.shape != (batch, height, width):
        raise ValueError(
            f"rrr_loss: the gradient is {tuple(gradient.shape)} and the prior {tuple(inside.shape)}; "
            f"it must be {(batch, height, width)}."
        )
    outside_BCHW = gradient.masked_fill(inside[:, None], 0.0).square()
    return outside_BCHW.mean() if form == "mean_logit" else outside_BCHW.flatten(1).sum(1).mean()


@dataclass(frozen=True, kw_only=True)
class RRR(MapPenalty):
    """Right for the right reasons: keeps pixels outside the prior from moving the score.

    Costs a forward and a double backward on the images that have a prior. Works for any model; attention runs on
    PyTorch's plain kernel, since the fused ones have no second derivative.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from wherenot.methods.base import Batch
        >>> from wherenot.priors import Prior
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
        >>> with torch.no_grad():
        ...     weight = model[1].weight.copy_(torch.tensor([[1.0, 2.0], [0.0, 0.0]]))
        >>> images, priors = torch.ones(1, 1, 1, 2), [Prior.from_boxes([[0, 0, 1, 1]], height=1, width=2)]
        >>> batch = Batch(images=images, targets=torch.tensor([0]), logits=model(images), priors=priors)
        >>> RRR(weight=0.1)(model, batch, step=1).log  # the mean of 0 and 2 squared
        {'rrr': 2.0, 'rrr_images': 1.0}

    References:
        Ross et al., IJCAI 2017; see `rrr_loss` for the forms.
    """

    name: ClassVar[str] = "rrr"

    weight: float = 0.1
    """Factor of the penalty in the total loss; 0.1 belongs to the form "mean_logit"."""

    form: Form = "mean_logit"
    """mean_logit: gradient of the target's logit, mean. sum_log_prob: of all log-probabilities, sum (Ross et al.).
    log_prob: of the target's log-probability, sum."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in _DIFFERENTIATED:
            raise ValueError(f"RRR: form must be one of {tuple(_DIFFERENTIATED)}, got {self.form!r}.")

    def penalty(
        self,
        model: nn.Module,
        images: Float[Tensor, "B C H W"],
        targets: Int[Tensor, " B"],
        inside: Bool[Tensor, "B H W"],
    ) -> Float[Tensor, ""]:
        """Return `rrr_loss` of the input gradient that belongs to `form`."""
        gradient = input_gradient(model, images, targets, of=_DIFFERENTIATED[self.form])
        return rrr_loss(gradient, inside, form=self.form)
