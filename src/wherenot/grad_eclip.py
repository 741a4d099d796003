"""Grad-ECLIP: the gradient map of vision transformers, trainable, from the model's own attention."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from wherenot.dropping import seen_patch_tokens
from wherenot.maps import check_targets, twice_differentiable
from wherenot.scoring import evaluating

_EPSILON = 1e-6  # golden case G16
_PROJECTIONS = ("q_proj", "k_proj", "v_proj")
_OUT_PROJECTIONS = ("out_proj", "o_proj")


def grad_eclip(
    gradient: Float[Tensor, "B R D"],
    query: Float[Tensor, "B R E"],
    key: Float[Tensor, "B P E"],
    value: Float[Tensor, "B P D"],
) -> Float[Tensor, "B P"]:
    r"""Grad-ECLIP: the values that a token could gather, each weighted by what it would do to the score.

    $$E_i = \mathrm{ReLU}\Big(\sum_r \lambda_{ri} \sum_d g_{rd} v_{id}\Big), \qquad
    \lambda_{ri} = \frac{c_{ri} - \min_j c_{rj}}{\max_j c_{rj} - \min_j c_{rj} + 10^{-6}}, \qquad
    c_{ri} = \cos(q_r, k_i)$$

    $\lambda$ stands for the attention, whose softmax is too sparse to be a map; it is a weight, and nothing is trained
    through it. 0 where a patch speaks against the score, does not matter, or is the one least like every query.

    Args:
        gradient: Derivative of one score per image by the attention output of its R tokens.
        query: Queries of those tokens.
        key: Keys of the P patches.
        value: Values of the patches, all heads side by side as in `gradient`.

    Returns:
        Non-negative map in units of the score, in float32 at least; differentiable in `gradient` and `value`.

    Raises:
        ValueError: If the shapes do not belong together.

    Example:
        >>> import torch
        >>> gradient, query = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[1.0, 0.0]]])
        >>> key = torch.tensor([[[1.0, 0.0], [1.0, 1.0], [-1.0, 0.0]]])  # alike, half alike, opposite
        >>> value = torch.tensor([[[2.0, 9.0], [-3.0, 9.0], [5.0, 9.0]]])  # for, against, for but not looked at
        >>> grad_eclip(gradient, query, key, value)
        tensor([[2.0000, 0.0000, 0.0000]])

    References:
        Zhao et al., "Gradient-based Visual Explanation for Transformer-based CLIP", ICML 2024, where the one token is
        the class token. Summing over tokens gives the same map for a head that reads the class token alone.
    """
    batch, num_tokens, width = gradient.shape
    if query.shape[:2] != (batch, num_tokens) or query.shape[2] != key.shape[2]:
        raise ValueError(
            f"grad_eclip: gradient {tuple(gradient.shape)}, query {tuple(query.shape)} and key {tuple(key.shape)} must "
            "be (B, R, D), (B, R, E) and (B, P, E)."
        )
    if value.shape != (batch, key.shape[1], width):
        raise ValueError(
            f"grad_eclip: the value is {tuple(value.shape)}; it must be {(batch, key.shape[1], width)}, a row for each "
            "key and as wide as the gradient."
        )
    full = torch.promote_types(gradient.dtype, torch.float32)
    weight_BRP = _similarity(query.detach().to(full), key.detach().to(full))
    return (torch.einsum("brp,brd->bpd", weight_BRP, gradient.to(full)) * value.to(full)).sum(-1).relu()


def _similarity(query_BRE: Tensor, key_BPE: Tensor) -> Tensor:
    cosine = F.normalize(query_BRE, dim=-1) @ F.normalize(key_BPE, dim=-1).transpose(1, 2)
    low, high = cosine.amin(-1, keepdim=True), cosine.amax(-1, keepdim=True)
    return (cosine - low) / (high - low + _EPSILON)


@dataclass(frozen=True)
class PatchAttention:
    """The last attention over a vision transformer's patch tokens.

    Attributes:
        module: Projects by ``q_proj``, ``k_proj`` and ``v_proj``, and its output by ``out_proj`` or ``o_proj``.
        rows: Patches from top to bottom.
        columns: Patches from left to right.
        others: Tokens before those of the patches (class, distillation, registers).
    """

    module: nn.Module
    rows: int
    columns: int
    others: int

    @property
    def out_proj(self) -> nn.Module:
        """The output projection, whatever the model calls it."""
        return next(child for name, child in self.module.named_children() if name in _OUT_PROJECTIONS)


def find_patch_attention(model: nn.Module, images: Float[Tensor, "B C H W"]) -> PatchAttention | None:
    """Find the last attention over patch tokens by running the first image; None if the model has none.

    Knows the vision transformers of transformers 5 by the names of their projections: ViT, DeiT, CLIP, SigLIP, DINOv2
    and whatever is built alike. Attention within windows, or over fewer tokens than patches, does not count.

    Args:
        model: Run once in eval mode without gradients, and only if it has such projections at all.
        images: Anything of the size that the model is used on.

    Example:
        >>> find_patch_attention(nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten()), torch.zeros(1, 1, 8, 8)) is None
        True
    """
    attentions = [module for module in model.modules() if _is_attention(module)]
    if not attentions:
        return None
    finished: list[tuple[nn.Module, torch.Size]] = []

    def finish(attention: nn.Module, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        finished.append((attention, output.shape))

    with evaluating(model), ExitStack() as hooks:
        for attention in attentions:
            query = attention.get_submodule("q_proj")
            hooks.callback(query.register_forward_hook(partial(finish, attention)).remove)
        tokens = seen_patch_tokens(model, images[:1])
    if tokens is None:
        return None
    length = tokens.others + tokens.rows * tokens.columns
    over_patches = [attention for attention, shape in finished if shape[:-1] == (1, length)]
    return PatchAttention(over_patches[-1], tokens.rows, tokens.columns, tokens.others) if over_patches else None


def grad_eclip_map(
    model: nn.Module,
    images: Float[Tensor, "B C H W"],
    targets: Int[Tensor, " B"],
    attention: PatchAttention | None = None,
) -> Float[Tensor, "B h w"]:
    r"""Grad-ECLIP of $z_y$ at the last attention of a vision transformer, trainable.

    The model runs as it is, with all its heads; gradients are those by the joined output of the heads, of every token
    that the classifier reads (the class token of ViT, class and distillation token of DeiT, all patches where they are
    averaged). Queries and keys are compared as the output projection shows them. Each image gets its own map.

    A CLIP classifier's logit is the cosine of image and text times a scale: its map is the cosine's times that scale.

    Args:
        model: Gives logits; run in eval mode, each submodule's own mode is restored, no hook is left behind.
        images: In the model's input space; not touched, no gradient reaches them.
        targets: The class whose logit is explained.
        attention: Where to look; None takes `find_patch_attention`.

    Returns:
        `grad_eclip`, not normalised, on the grid of the patches; in the graph of the weights, those of the queries
        and keys of that attention by way of its output alone.

    Raises:
        ValueError: If there is not one target per image, or if the model has no attention over patches that is known.

    Example:
        >>> import torch
        >>> from wherenot.models.tiny import small_vit
        >>> class Logits(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.vit = small_vit(10)
        ...     def forward(self, images):
        ...         return self.vit(images).logits
        >>> grad_eclip_map(Logits(), torch.zeros(2, 3, 28, 28), torch.tensor([3, 7])).shape
        torch.Size([2, 7, 7])

    References:
        Zhao et al., ICML 2024, for the class token of CLIP, run with a single head there; the real heads, the epsilon
        and the trainable gradient are those of the baselines in "Where Not to Learn" (authors' code, its last version).
        For ViT Zhao et al. compare queries and keys without the output projection; here both are treated alike.
    """
    check_targets("grad_eclip_map", images, targets)
    attention = attention or find_patch_attention(model, images)
    if attention is None:
        raise ValueError(
            f"grad_eclip_map: {type(model).__name__} has no attention over patch tokens with q_proj, k_proj, v_proj "
            "and out_proj or o_proj (a vision transformer of transformers has); for a CNN take grad_cam_map."
        )
    with evaluating(model), twice_differentiable(images.device):
        with _taking_tokens(attention) as taken:
            logits = model(images.detach())
        score = logits.gather(1, targets[:, None].long()).sum()
        (gradient,) = torch.autograd.grad(score, taken["out"], create_graph=True)
        query, key = (_projected(attention.out_proj, taken[name]) for name in ("q_proj", "k_proj"))
        patches = slice(attention.others, None)
        evidence_BP = grad_eclip(gradient, query, key[:, patches], taken["v_proj"][:, patches])
        return evidence_BP.unflatten(1, (attention.rows, attention.columns))


@torch.no_grad()
def _projected(projection: nn.Module, tokens_BTD: Tensor) -> Tensor:
    # A model that casts for itself took its tokens in another precision than its weights have.
    return projection(tokens_BTD.to(next(projection.parameters()).dtype))


@contextmanager
def _taking_tokens(attention: PatchAttention) -> Iterator[dict[str, Tensor]]:
    taken: dict[str, Tensor] = {}

    def take(name: str, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        taken[name] = output

    def take_out(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        # Behind frozen weights the output is not in the graph.
        taken["out"] = inputs[0] if inputs[0].requires_grad else inputs[0].detach().requires_grad_()
        return (taken["out"], *inputs[1:])

    with ExitStack() as hooks:
        for name in _PROJECTIONS:
            projection = attention.module.get_submodule(name)
            hooks.callback(projection.register_forward_hook(partial(take, name)).remove)
        hooks.callback(attention.out_proj.register_forward_pre_hook(take_out).remove)
        yield taken


def _is_attention(module: nn.Module) -> bool:
    children = {name for name, _ in module.named_children()}
    return children.issuperset(_PROJECTIONS) and not children.isdisjoint(_OUT_PROJECTIONS)
