"""What a network sees at each place of an image: features of two of its layers, on one grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from wherenot.dropping import find_patch_tokens
from wherenot.scoring import evaluating

_FEWEST_CELLS = 6
_LARGEST_CELL_PX = 16  # a network's last grid, of 32 pixels, says what an image shows, and hardly where

_ToGrid = Callable[[Tensor], Tensor]


class FeatureGrid:
    """Reads features of a network at each place of an image, without changing the network.

    Of a CNN, the outputs of its last block on each of its two coarsest grids with cells of at most 16 pixels (of any
    size, if it has no such) and six of them a side or more; of a vision transformer, the patch tokens after half of its
    layers and after all. The coarser map is brought to the finer grid.

    Args:
        model: A CNN or a vision transformer; each submodule's mode is left as found.
        images: Of the size that will be read; one is looked at to find the layers.

    Raises:
        ValueError: If the model has neither.

    Example:
        >>> cnn = nn.Sequential(nn.Conv2d(3, 4, 1), nn.MaxPool2d(2), nn.Conv2d(4, 8, 1), nn.AdaptiveAvgPool2d(1))
        >>> FeatureGrid(cnn, torch.zeros(1, 3, 12, 12))(torch.zeros(5, 3, 12, 12)).shape
        torch.Size([5, 12, 12, 12])
    """

    def __init__(self, model: nn.Module, images: Float[Tensor, "B C H W"]) -> None:
        self._model = model
        with evaluating(model), torch.no_grad():
            self._layers = _cnn_layers(model, images[:1]) or _transformer_layers(model, images[:1])

    @torch.no_grad()
    def __call__(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Return the features, in single precision; those of one image do not depend on the others."""
        with evaluating(self._model), _taking(self._layers) as taken:
            self._model(images)
        maps = [to_grid(taken[layer]).float() for layer, to_grid in self._layers]
        size = max((grid.shape[-2:] for grid in maps), key=lambda shape: shape.numel())
        return torch.cat(
            [F.interpolate(grid, size=tuple(size), mode="bilinear", align_corners=False) for grid in maps], dim=1
        )


def _cnn_layers(model: nn.Module, images: Tensor) -> list[tuple[nn.Module, _ToGrid]]:
    seen: dict[torch.Size, list[tuple[int, nn.Module]]] = {}
    convolved: set[torch.Size] = set()

    def look(depth: int, module: nn.Module, given: object, output: object) -> None:  # noqa: ARG001 - torch calls it so
        if isinstance(output, Tensor) and output.ndim == 4 and min(output.shape[-2:]) >= _FEWEST_CELLS:
            seen.setdefault(output.shape[-2:], []).append((depth, module))
            if isinstance(module, nn.Conv2d):
                convolved.add(output.shape[-2:])

    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    if all(conv.kernel_size == conv.stride and max(conv.kernel_size) > 1 for conv in convolutions):
        return []  # nothing but a patch embedding
    with ExitStack() as hooks:
        for name, module in model.named_modules():
            if name:
                hooks.callback(module.register_forward_hook(partial(look, name.count("."))).remove)
        model(images)
    grids = sorted(convolved, key=lambda grid: grid.numel())  # of convolutions: padding makes grids of its own
    fine = [grid for grid in grids if round(max(images.shape[-2:]) / max(grid)) <= _LARGEST_CELL_PX]
    coarsest = (fine or grids)[:2]
    # The outermost module is a block, narrow; what runs last on its grid may be the inside of the next, wide one.
    return [(_last_of_outermost(seen[grid]), lambda output: output) for grid in coarsest]


def _last_of_outermost(modules: Sequence[tuple[int, nn.Module]]) -> nn.Module:
    outermost = min(depth for depth, _ in modules)
    return next(module for depth, module in reversed(modules) if depth == outermost)


def _transformer_layers(model: nn.Module, images: Tensor) -> list[tuple[nn.Module, _ToGrid]]:
    try:
        tokens = find_patch_tokens(model, images)
    except ValueError as error:
        raise ValueError(
            f"FeatureGrid: {type(model).__name__} has neither feature maps of {_FEWEST_CELLS} cells a side nor patch "
            "tokens; larger images may help a CNN."
        ) from error
    layers = next(
        list(module)
        for module in model.modules()
        if isinstance(module, nn.ModuleList | nn.Sequential) and len(module) and module[0] is tokens.layer
    )

    def to_grid(output: Tensor) -> Tensor:
        patches = output[:, tokens.others :].unflatten(1, (tokens.rows, tokens.columns))
        return patches.movedim(-1, 1)

    return [(layers[(len(layers) - 1) // 2], to_grid), (layers[-1], to_grid)]


@contextmanager
def _taking(layers: Sequence[tuple[nn.Module, _ToGrid]]) -> Iterator[dict[nn.Module, Tensor]]:
    taken: dict[nn.Module, Tensor] = {}

    def take(module: nn.Module, given: object, output: Tensor | tuple[Tensor, ...]) -> None:  # noqa: ARG001
        taken[module] = output if isinstance(output, Tensor) else output[0]

    with ExitStack() as hooks:
        for layer, _ in layers:
            hooks.callback(layer.register_forward_hook(take).remove)
        yield taken
