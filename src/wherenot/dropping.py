"""Hiding by leaving out: the patches of a vision transformer that are not visible leave the token sequence.

Nothing stands in for what is hidden, so no fill puts the model in front of images it never saw, and a short sequence is
cheap. It is another score than masking, and has a name of its own, ``drop``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from wherenot.types import Model

_MOST_OTHER_TOKENS = 16  # class, distillation and register tokens; four is the most that is in use


@dataclass(frozen=True)
class PatchTokens:
    """Where and how a vision transformer turns patches into tokens.

    Attributes:
        layer: The first layer of the transformer; tokens are dropped before it, after positions were added.
        rows: Patches from top to bottom.
        columns: Patches from left to right.
        others: Tokens before those of the patches (class, registers); they always stay.
    """

    layer: nn.Module
    rows: int
    columns: int
    others: int

    def patch_labels(self, labels: Int[Tensor, "B H W"]) -> Int[Tensor, "B P"]:
        """The region that most pixels of each patch belong to, the first on ties; renumbered 0..K-1 per image.

        A region that no patch belongs to is gone.
        """
        height, width = labels.shape[1:]
        patch = self._patch_of_pixel(height, width, labels.device).flatten()
        regions = int(labels.max()) + 1
        counts = labels.new_zeros(len(labels), self.rows * self.columns * regions)
        counts.scatter_add_(1, patch * regions + labels.flatten(1), torch.ones_like(labels).flatten(1))
        majority = counts.view(len(labels), -1, regions).argmax(2)
        return torch.stack([row.unique(return_inverse=True)[1] for row in majority])

    def pixel_labels(self, patch_labels: Int[Tensor, "B P"], height: int, width: int) -> Int[Tensor, "B H W"]:
        """The same regions as a label map."""
        return patch_labels[:, self._patch_of_pixel(height, width, patch_labels.device)]

    def _patch_of_pixel(self, height: int, width: int, device: torch.device) -> Int[Tensor, "H W"]:
        # A border that no patch covers counts with the patch beside it.
        row = torch.arange(height, device=device) // (height // self.rows)
        column = torch.arange(width, device=device) // (width // self.columns)
        return row.clamp_max(self.rows - 1)[:, None] * self.columns + column.clamp_max(self.columns - 1)

    @contextmanager
    def only(self, keep: Bool[Tensor, "N P"]) -> Iterator[None]:
        """Within it a forward of N images sees the visible patches alone; the same number in every row."""
        patches = keep.nonzero()[:, 1].view(len(keep), -1) + self.others
        others = torch.arange(self.others, device=keep.device).expand(len(keep), -1)
        tokens = torch.cat([others, patches], dim=1)
        row = torch.arange(len(keep), device=keep.device)[:, None]

        def drop(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:  # noqa: ARG001 - torch calls it so
            return (given[0][row, tokens], *given[1:])

        hook = self.layer.register_forward_pre_hook(drop)
        try:
            yield
        finally:
            hook.remove()


_found: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], PatchTokens]] = WeakKeyDictionary()


@torch.no_grad()
def find_patch_tokens(model: Model, images: Float[Tensor, "B C H W"]) -> PatchTokens:
    """Find where a vision transformer's patch tokens enter its layers, and check that they can be dropped there.

    Looks on while the model sees one image, so it knows ViT, DeiT, CLIP, SigLIP, DINOv2, timm's and whatever else is
    built alike. Remembered per model and image size. The model must be in eval mode.

    Raises:
        ValueError: If the model is no `nn.Module`, has no patch tokens, or needs them all (windows, rotary or relative
            positions, a convolution that mixes patches).
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"fill 'drop': needs an nn.Module whose layers can be seen, got {type(model).__name__}.")
    known = _found.setdefault(model, {})
    size = tuple(images.shape[1:])
    if size not in known:
        tokens = seen_patch_tokens(model, images[:1])
        if tokens is None:
            raise ValueError(
                f"fill 'drop': {type(model).__name__} has no sequence of patch tokens (a vision transformer has); "
                "choose 'mean', 'black' or 'blur'."
            )
        _check(model, tokens, images[:1])
        known[size] = tokens
    return known[size]


@torch.no_grad()
def seen_patch_tokens(model: nn.Module, images: Float[Tensor, "B C H W"]) -> PatchTokens | None:
    """Where patch tokens enter the layers of a model, seen while it runs; None if it has none.

    Not whether it could do without some of them: `find_patch_tokens` checks that too.

    Args:
        model: In eval mode; run once.
        images: Anything of the size that the model is used on.

    Example:
        >>> seen_patch_tokens(nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten()), torch.zeros(1, 1, 8, 8)) is None
        True
    """
    grids: list[tuple[int, int]] = []
    entries: list[tuple[nn.Module, int]] = []

    def saw_patches(module: nn.Module, given: Any, output: Any) -> None:  # noqa: ARG001
        if isinstance(module, nn.Conv2d) and module.kernel_size == module.stride and module.stride[0] > 1:
            grids.append((output.shape[-2], output.shape[-1]))

    def saw_layer(module: nn.Module, given: Any) -> None:
        if given and isinstance(given[0], Tensor) and given[0].ndim == 3:
            entries.append((module, given[0].shape[1]))

    with ExitStack() as hooks:
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                hooks.callback(module.register_forward_hook(saw_patches).remove)
            if isinstance(module, nn.ModuleList | nn.Sequential) and len(module):
                hooks.callback(module[0].register_forward_pre_hook(saw_layer).remove)
        model(images)
    for rows, columns in grids[:1]:
        for layer, length in entries:
            if 0 <= length - rows * columns <= _MOST_OTHER_TOKENS:
                return PatchTokens(layer, rows, columns, length - rows * columns)
    return None


def _check(model: nn.Module, tokens: PatchTokens, images: Tensor) -> None:
    """What is dropped must not matter."""
    half = torch.zeros(1, tokens.rows * tokens.columns, dtype=torch.bool, device=images.device)
    half[:, : half.shape[1] // 2] = True
    if not half.any():
        raise ValueError(f"fill 'drop': {type(model).__name__} cuts images of this size into one patch.")
    hidden = ~tokens.pixel_labels(half.long(), *images.shape[-2:]).bool()[:, None]
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(images.shape, generator=generator).to(images)

    def shown(pixels: Tensor) -> Tensor:
        with tokens.only(half):
            return model(pixels)

    try:
        plain, other = shown(images), shown(torch.where(hidden, noise, images))
    except (RuntimeError, ValueError, IndexError) as error:
        raise ValueError(
            f"fill 'drop': {type(model).__name__} cannot do without some of its tokens (windows, rotary or relative "
            f"positions?); choose 'mean', 'black' or 'blur'. It said: {str(error).splitlines()[0]}"
        ) from error
    if not torch.allclose(plain, other, rtol=1e-3, atol=1e-4):
        raise ValueError(
            f"fill 'drop': {type(model).__name__} mixes patches before its layers, so that a dropped one still shows; "
            "choose 'mean', 'black' or 'blur'."
        )


@dataclass(frozen=True)
class Dropping:
    """Regions as patches of a vision transformer, ready to be dropped.

    Args:
        tokens: Where the model's tokens are.
        patch_labels: The region of each patch.
        nothing: What the model sees when no region is visible, one image each: there is nothing left to pool from
            then, for some models.
    """

    tokens: PatchTokens
    patch_labels: Int[Tensor, "B P"]
    nothing: Float[Tensor, "B C H W"]

    def visible_patches(self, image: Int[Tensor, " N"], keep: Bool[Tensor, "N K"]) -> Bool[Tensor, "N P"]:
        """Which patches belong to visible regions."""
        return keep.gather(1, self.patch_labels[image])

    def batches(self, image: Int[Tensor, " N"], keep: Bool[Tensor, "N K"], chunk: int) -> list[Int[Tensor, " _"]]:
        """Rows that can share a forward: as many patches visible in each, as much work as `chunk` whole images."""
        counts = self.visible_patches(image, keep).sum(1)
        batches: list[Tensor] = []
        for count in counts.unique().tolist():
            rows = (counts == count).nonzero()[:, 0]
            fits = chunk if count == 0 else chunk * self.patch_labels.shape[1] // count
            batches += rows.split(max(1, fits))
        return batches

    def forward(
        self,
        model: Callable[[Tensor], Tensor],
        images: Float[Tensor, "B C H W"],
        image: Int[Tensor, " N"],
        keep: Bool[Tensor, "N K"],
    ) -> Tensor:
        """The model's output for rows of one batch of `batches`."""
        patches = self.visible_patches(image, keep)
        if not patches.any():
            return model(self.nothing[image])
        with self.tokens.only(patches):
            return model(images[image])
