"""Gradient maps that can be trained through: the input gradient and Grad-CAM.

Both run the model in eval mode, in full precision, and stay in the autograd graph, so that a loss on the map reaches
the weights by a second backward pass. The map of an image does not depend on the other images of the batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from wherenot.scoring import evaluating
from wherenot.types import Model

Differentiated = Literal["logit", "log_prob", "sum_log_prob"]

_EPSILON = 1e-6  # golden cases G15 and G17


def input_gradient(
    model: Model,
    images: Float[Tensor, "B C H W"],
    targets: Int[Tensor, " B"],
    *,
    of: Differentiated = "logit",
) -> Float[Tensor, "B C H W"]:
    r"""How the model's output for each image changes with each of its input values.

    $$g = \partial s / \partial x, \qquad s = z_y, \quad \log p_y \quad\text{or}\quad \sum_k \log p_k$$

    Positive where a larger input raises the score, 0 where the model does not look. $\log p_y$ vanishes as the
    model grows certain, $z_y$ does not. $\sum_k \log p_k$ does not ask for the label: it is the score of Ross et al.

    Args:
        model: Gives logits; run in eval mode, each submodule's own mode is restored.
        images: In the model's input space; not touched, no gradient reaches them.
        targets: The class whose score is differentiated; not used for "sum_log_prob".
        of: The score that is differentiated.

    Returns:
        Signed gradient in score per unit of input, with the dtype and device of `images`, in the graph of the
        model's weights.

    Raises:
        ValueError: If `of` is not one of the three, or if there is not one target per image.

    Example:
        >>> import torch
        >>> images = torch.tensor([[[[1.0, 5.0]]]])
        >>> model = lambda images: torch.stack([3 * images[..., 0], images[..., 1]], -1).flatten(1)
        >>> input_gradient(model, images, torch.tensor([0])).tolist()  # the first logit is 3 x the first pixel
        [[[[3.0, 0.0]]]]

    References:
        Ross et al., "Right for the Right Reasons", IJCAI 2017, Eq. 1 (the input gradient of `sum_log_prob`).
    """
    if of not in get_args(Differentiated):
        raise ValueError(f"input_gradient: `of` must be one of {get_args(Differentiated)}, got {of!r}.")
    check_targets("input_gradient", images, targets)
    shown = images.detach().clone().requires_grad_()
    with evaluating(model), twice_differentiable(images.device):
        logits = model(shown)
        if of == "logit":
            score_B = _of_target(logits, targets)
        elif of == "log_prob":
            score_B = _of_target(_log_probs(logits), targets)
        else:
            score_B = _log_probs(logits).sum(-1)
        (gradient,) = torch.autograd.grad(score_B.sum(), shown, create_graph=True)
    return gradient


def grad_cam(activation: Float[Tensor, "B D h w"], gradient: Float[Tensor, "B D h w"]) -> Float[Tensor, "B h w"]:
    r"""Grad-CAM: the channels of a feature map, each weighted by its mean effect on the score.

    $$E = \mathrm{ReLU}\Big(\sum_c w_c A_c\Big), \qquad
    w_c = \frac{1}{hw} \sum_{ij} \frac{\partial s}{\partial A_{cij}}$$

    0 where the channels speak against the score or do not matter; all 0 if they do so everywhere.

    Args:
        activation: Feature map, one per image.
        gradient: Derivative of one score per image by `activation`.

    Returns:
        Non-negative map in units of the score, on the grid of `activation`; differentiable in both arguments.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> import torch
        >>> activation = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])
        >>> gradient = torch.tensor([[[[1.0, 1.0]], [[-1.0, 0.0]]]])  # channel weights 1 and -0.5
        >>> grad_cam(activation, gradient)
        tensor([[[0., 2.]]])

    References:
        Selvaraju et al., "Grad-CAM", ICCV 2017, Eq. 1 and 2.
    """
    if activation.shape != gradient.shape:
        raise ValueError(
            f"grad_cam: activation {tuple(activation.shape)} and gradient {tuple(gradient.shape)} "
            "must have the same shape."
        )
    weight_BD = gradient.mean((-2, -1))
    return torch.einsum("bd,bdhw->bhw", weight_BD, activation).relu()


def min_max(evidence: Float[Tensor, "B H W"]) -> Float[Tensor, "B H W"]:
    r"""Each map shifted and scaled to $[0, 1)$: $(E - \min E) / (\max E - \min E + 10^{-6})$.

    The smallest value becomes 0, the largest nearly 1; a constant map becomes all 0. A map whose range is not
    large against $10^{-6}$ stays small: it hardly counts as evidence. Its slope is then up to $10^6$.

    Args:
        evidence: One map per image, any real unit.

    Returns:
        Unit-free map, differentiable.

    Example:
        >>> import torch
        >>> min_max(torch.tensor([[[2.0, 3.0, 4.0]], [[7.0, 7.0, 7.0]]]))
        tensor([[[0.0000, 0.5000, 1.0000]],
                [[0.0000, 0.0000, 0.0000]]])
    """
    low = evidence.amin((-2, -1), keepdim=True)
    high = evidence.amax((-2, -1), keepdim=True)
    return (evidence - low) / (high - low + _EPSILON)


def max_normalized(evidence: Float[Tensor, "B H W"]) -> Float[Tensor, "B H W"]:
    r"""Each map divided by its largest value: $E / (\max E + 10^{-6})$.

    Unlike `min_max`, evidence that covers the whole image evenly stays evidence.

    Args:
        evidence: One non-negative map per image.

    Returns:
        Unit-free map in $[0, 1)$, differentiable; an all-zero map stays all zero.

    Example:
        >>> import torch
        >>> max_normalized(torch.tensor([[[2.0, 3.0, 4.0]], [[7.0, 7.0, 7.0]]]))
        tensor([[[0.5000, 0.7500, 1.0000]],
                [[1.0000, 1.0000, 1.0000]]])
    """
    return evidence / (evidence.amax((-2, -1), keepdim=True) + _EPSILON)


def grad_cam_map(
    model: nn.Module,
    images: Float[Tensor, "B C H W"],
    targets: Int[Tensor, " B"],
    layer: str | None = None,
) -> Float[Tensor, "B h w"]:
    r"""Grad-CAM of $\log p_y$ at one layer of a CNN, trainable.

    Args:
        model: Gives logits; run in eval mode, each submodule's own mode is restored, no hook is left behind.
        images: In the model's input space; not touched, no gradient reaches them.
        targets: The class whose log-probability is explained.
        layer: Name, or the end of a name, as in `model.named_modules()`, of a module that returns a feature map; of
            one that runs more than once the last run counts. None takes `last_feature_layer`.

    Returns:
        `grad_cam`, not normalised, on the layer's grid; in the graph of the weights before and after the layer.

    Raises:
        ValueError: If there is not one target per image, if `layer` does not exist, does not run or gives no
            feature map, or as `last_feature_layer` does.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> conv = nn.Conv2d(1, 1, 1, bias=False)
        >>> model = nn.Sequential(conv, nn.Flatten(), nn.Linear(2, 2, bias=False))
        >>> with torch.no_grad():
        ...     weights = conv.weight.fill_(1.0), model[2].weight.copy_(torch.tensor([[1.0, 1.0], [0.0, 0.0]]))
        >>> grad_cam_map(model, torch.tensor([[[[2.0, -2.0]]]]), torch.tensor([0])).tolist()  # both logits are 0
        [[[1.0, 0.0]]]

    References:
        Selvaraju et al., "Grad-CAM", ICCV 2017, on the log-probability instead of the logit, as in the baselines of
        "Where Not to Learn". Unlike the authors' ViT maps, all images of a batch get their own map.
    """
    check_targets("grad_cam_map", images, targets)
    name = last_feature_layer(model, images) if layer is None else layer
    module = _named(model, name)
    with evaluating(model), twice_differentiable(images.device):
        with _taking_feature_map(name, module) as taken:
            log_prob_B = _of_target(_log_probs(model(images.detach())), targets)
        if not taken:
            raise ValueError(f"grad_cam_map: the model did not run its layer {name!r}. {_known_layers(model)}")
        (gradient,) = torch.autograd.grad(log_prob_B.sum(), taken[0], create_graph=True)
        return grad_cam(taken[0], gradient)


def _named(model: nn.Module, name: str) -> nn.Module:
    """The module of that name, also when the model is wrapped and its names have a prefix."""
    found = {known: module for known, module in model.named_modules() if f".{known}".endswith(f".{name}")}
    if name not in found and len(found) != 1:
        fault = "has no layer" if not found else f"has {len(found)} layers whose names end in"
        raise ValueError(f"grad_cam_map: the model {fault} {name!r}. {_known_layers(model)}")
    return found.get(name) or next(iter(found.values()))


def last_feature_layer(model: nn.Module, images: Float[Tensor, "B C H W"]) -> str:
    """The last layer on the grid of the last convolution: where Grad-CAM looks by default.

    Found by running the first image: the order of execution counts, not that of registration, and convolutions
    after global pooling (squeeze-and-excite, some heads) do not. It is not the convolution itself but the last module
    to give a map on its grid: normalisation, activation, the end of a residual block, the joined maps of a dense one.
    That is what the classifier sees; before BatchNorm the channels still have offsets that it takes away.

    Args:
        model: A CNN; run once in eval mode without gradients.
        images: Anything of the size that the model is used on.

    Returns:
        The module's name, as in `model.named_modules()`; ``layer4`` for a ResNet of torchvision.

    Raises:
        ValueError: If the model has no convolution, if its only ones cut the image into patches (a vision
            transformer: its patch embedding says little about the decision), or if none gives a feature map.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 2, 1), nn.Flatten())
        >>> last_feature_layer(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), pooled), torch.zeros(1, 3, 8, 8))
        '1'
    """
    if all(_cuts_patches(module) for module in model.modules() if isinstance(module, nn.Conv2d)):
        raise ValueError(
            "last_feature_layer: Grad-CAM needs a CNN, and this model has no convolution beyond a patch embedding. "
            "Name a `layer` that gives a (B, D, h, w) feature map, or use a method that needs none."
        )
    finished: list[tuple[str, bool, torch.Size]] = []

    def finish(name: str, module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[-2:].numel() > 1:
            finished.append((name, isinstance(module, nn.Conv2d), output.shape[-2:]))

    with evaluating(model), torch.no_grad(), ExitStack() as hooks:
        for name, module in model.named_modules():
            hooks.callback(module.register_forward_hook(partial(finish, name)).remove)
        model(images[:1])
    grids = [grid for _, is_conv, grid in finished if is_conv]
    if not grids:
        raise ValueError(
            f"last_feature_layer: Grad-CAM needs a CNN, and no convolution of this model sees more than one position "
            f"of a {images.shape[-2]} x {images.shape[-1]} image. {_known_layers(model)}"
        )
    return next(name for name, _, grid in reversed(finished) if grid == grids[-1])


@contextmanager
def _taking_feature_map(name: str, module: nn.Module) -> Iterator[list[Tensor]]:
    taken: list[Tensor] = []

    def take(_module: nn.Module, _inputs: object, output: object) -> Tensor:
        if not (isinstance(output, Tensor) and output.ndim == 4):
            raise ValueError(f"grad_cam_map: layer {name!r} does not give a (B, D, h, w) feature map.")
        # Behind frozen weights the output is not in the graph. The clone keeps a later in-place ReLU off ours.
        taken[:] = [output if output.requires_grad else output.detach().requires_grad_()]
        return taken[0].clone()

    handle = module.register_forward_hook(take)
    try:
        yield taken
    finally:
        handle.remove()


@contextmanager
def twice_differentiable(device: torch.device) -> Iterator[None]:
    """Within it a model's gradients can be trained through, whatever stands around it.

    Gradients are on; attention takes PyTorch's plain kernel, since the fused ones have no second derivative; and
    autocast is off, since half precision loses the small gradients.

    Example:
        >>> import torch
        >>> with torch.no_grad(), twice_differentiable(torch.device("cpu")):
        ...     torch.is_grad_enabled()
        True
    """
    with torch.enable_grad(), torch.autocast(device.type, enabled=False), sdpa_kernel(SDPBackend.MATH):
        yield


def _log_probs(logits: Float[Tensor, "B L"]) -> Float[Tensor, "B L"]:
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)


def _of_target(scores: Float[Tensor, "B L"], targets: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
    return scores.gather(1, targets[:, None].long())[:, 0]


def check_targets(function: str, images: Float[Tensor, "B C H W"], targets: Int[Tensor, " T"]) -> None:
    """Refuse targets that are not one per image.

    Args:
        function: Who asks, for the message.
        images: The images.
        targets: The classes.

    Raises:
        ValueError: If there are more or fewer targets than images.

    Example:
        >>> import torch
        >>> check_targets("grad_cam_map", torch.zeros(2, 3, 8, 8), torch.tensor([4, 0]))
    """
    if len(images) != len(targets):
        raise ValueError(f"{function}: {len(images)} images need as many targets, got {len(targets)}.")


def _cuts_patches(conv: nn.Conv2d) -> bool:
    return conv.kernel_size == conv.stride and max(conv.kernel_size) > 1


def _known_layers(model: nn.Module) -> str:
    convs = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    return (
        f"Its last convolutions: {', '.join(convs[-5:])}." if convs else "Grad-CAM needs a CNN: it has no convolution."
    )
