"""Slow float64 re-implementations that follow the definitions sentence by sentence."""

import math

import numpy as np


def objective_value(p_insertion, p_deletion, a, b):
    return a * p_insertion + b * (1 - p_deletion)


def softmax_probability(logits, target):
    exponentials = [math.exp(z - max(logits)) for z in logits]
    return exponentials[target] / sum(exponentials)


def greedy_order(p, num_regions, a, b, max_regions=None, stop_above=None):
    """S = []; repeat: evaluate F(S + {c}) for every remaining c; take the argmax, the first on ties."""
    everything = set(range(num_regions))
    order, values = [], []
    while len(order) < (max_regions or num_regions):
        best, best_value = None, -math.inf
        for candidate in sorted(everything - set(order)):
            subset = set(order) | {candidate}
            value = objective_value(p(subset), p(everything - subset), a, b)
            if value > best_value + 1e-9:
                best, best_value = candidate, value
        order.append(best)
        values.append(best_value)
        if stop_above is not None and p(set(order)) > stop_above:
            break
    return order, values


def scoped_order(p, num_regions, a, b, scope, update):
    """Score all and re-sort at every `update`-th step, else only the first `scope` of the sorted list.

    The second value is the number of different subsets scored.
    """
    everything = set(range(num_regions))
    candidates, order, scored = sorted(everything), [], set()
    for step in range(num_regions):
        full_scan = step % update == 0
        looked_at = candidates if full_scan else candidates[:scope]
        values = []
        for candidate in looked_at:
            subset = set(order) | {candidate}
            values.append(objective_value(p(subset), p(everything - subset), a, b))
            scored |= {frozenset(subset), frozenset(everything - subset)}
        best = looked_at[values.index(max(values))]
        if full_scan:
            candidates = [c for _, c in sorted(zip([-v for v in values], candidates, strict=True))]
        candidates.remove(best)
        order.append(best)
    return order, len(scored)


def masked_image(image, labels, visible, fill):
    """Copy a pixel if its region is visible, else take the fill's."""
    shown = np.array(fill, dtype=image.dtype)
    for row in range(labels.shape[0]):
        for column in range(labels.shape[1]):
            if labels[row, column] in visible:
                shown[:, row, column] = image[:, row, column]
    return shown


def attribution_map(labels, order, values, empty_value, full_value):
    """Each region lies |F_r - F_{r-1}| below the one before; what is not covered counts as one last region."""
    height, before, value = {}, empty_value, 0.0
    for region, here in zip(order, values, strict=True):
        value -= abs(here - before)
        height[region] = value
        before = here
    rest = value - abs(full_value - before)
    raw = [[height.get(label, rest) for label in row] for row in labels.tolist()]
    low = min(min(row) for row in raw)
    high = max(max(row) for row in raw)
    return np.array([[(v - low) / (high - low) for v in row] for row in raw])
