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


def lazy_order(value, num_regions, chunk):
    """Measure all gains; take the largest if it was measured on this prefix, else measure the first few old ones."""
    order, gains = [], {c: value({c}) - value(set()) for c in range(num_regions)}
    fresh = set(gains)
    while gains:
        ranked = sorted(gains, key=lambda c: -gains[c])
        if ranked[0] in fresh:
            order.append(ranked[0])
            del gains[ranked[0]]
            fresh = set()
        else:
            for c in [c for c in ranked if c not in fresh][:chunk]:
                gains[c] = value({*order, c}) - value(set(order))
                fresh.add(c)
    return order


def fast_order(inside, outside, centres, raster, promising, scan, near, stale, finalists):
    """The sentences of `search/fast.py` one by one; `inside` and `outside` are the two parts of F of a set."""
    regions = range(len(centres))
    cells = {}
    for region, (y, x) in enumerate(centres):
        cells.setdefault((int(y * raster), int(x * raster)), []).append(region)
    # The first round: all deletions, the insertions of super-regions, then those of what either makes promising.
    lost = {region: outside({region}) - outside(set()) for region in regions}
    gained = {}
    for cell in cells.values():
        gained |= dict.fromkeys(cell, (inside(set(cell)) - inside(set())) / len(cell))
    ranked = sorted(regions, key=lambda region: -(gained[region] + lost[region]))
    looked_at = {*ranked[:promising], *max(cells.values(), key=lambda cell: inside(set(cell)))}
    gained |= {region: inside({region}) - inside(set()) for region in looked_at}
    seen = dict.fromkeys(regions, 0)
    order = [max(looked_at, key=lambda region: inside({region}) + outside({region}))]
    while len(order) < len(centres):
        left = sorted(set(regions) - set(order), key=lambda region: -(gained[region] + lost[region]))
        strong, others = left[: scan - near - stale], left[scan - near - stale :]
        others.sort(key=lambda region: min(math.dist(centres[region], centres[taken]) for taken in order))
        unseen = sorted(others[near:], key=lambda region: seen[region])
        chosen = strong + others[:near] + unseen[:stale]
        for region in chosen:
            gained[region] = inside({*order, region}) - inside(set(order))
            seen[region] = len(order)
        by_gain = sorted(chosen, key=lambda region: -(gained[region] + lost[region]))
        last = {*by_gain[:finalists], max(chosen, key=lambda region: inside({*order, region}))}
        for region in last:
            lost[region] = outside({*order, region}) - outside(set(order))
        order.append(max(last, key=lambda region: inside({*order, region}) + outside({*order, region})))
    return order


def bidirectional_order(value, num_regions, pending, effect=lambda subset: 0.0):
    """LIMA's second version; `value` is F of a set, `effect` the part of F that is effectiveness.

    Score every candidate in front and append the best. If more than `pending` candidates were there, take the `pending`
    with the lowest score (their effectiveness counted behind), leave out the best, score each behind exactly, and
    append the lowest to the back. One that is left is appended to the front.
    """
    front, back = [], []
    while True:
        candidates = [c for c in range(num_regions) if c not in front and c not in back]
        if len(candidates) <= 1:
            return front + candidates + back[::-1]
        score = {c: value({*front, c}) for c in candidates}
        best = max(candidates, key=lambda c: score[c])
        if len(candidates) > pending:
            low = {c: score[c] - effect({*front, c}) + effect({*back, c}) for c in candidates}
            pool = sorted(candidates, key=lambda c: low[c])[:pending]
            pool = [c for c in pool if c != best]
            back.append(min(sorted(pool), key=lambda c: value({*back, c})))
        front.append(best)


def eagle_order(value, num_regions, scope, pending, update):
    """EAGLE's loop: scoped in front; behind, the last of the first scan, later the best to hide of the queue's tail."""
    everything = set(range(num_regions))
    queue, front, back = list(range(num_regions)), [], []
    step = 0
    while len(queue) > 1:
        looked_at = queue if step % update == 0 else queue[:scope]
        score = {c: value({*front, c}) for c in looked_at}
        if step % update == 0:
            queue = sorted(queue, key=lambda c: -score[c])
        best = max(looked_at, key=lambda c: score[c])
        queue.remove(best)
        front.append(best)
        if step == 0:
            back.append(queue.pop())
        elif len(queue) > pending:
            tail = queue[-pending:]
            worst = max(tail, key=lambda c: value(everything - {*back, c}))
            queue.remove(worst)
            back.append(worst)
        step += 1
    return front + queue + back[::-1]


def four_terms(probabilities, features, subset, everything, target, weights):
    """Confidence, effectiveness, consistency and collaboration of a subset, weighted as given."""
    inside = probabilities(subset)
    entropy = -sum(p * math.log(p + 1e-7) for p in inside)
    sure = 1 - entropy / math.log(len(inside))
    consistency, collaboration = inside[target], 1 - probabilities(everything - subset)[target]
    terms = (sure, effectiveness(features, subset), consistency, collaboration)
    return sum(weight * term for weight, term in zip(weights, terms, strict=True))


def effectiveness(features, subset):
    """Sum over the subset of the angle to the nearest other, in half turns."""
    if len(subset) < 2:
        return 0.0

    def angle(one, other):
        cosine = sum(a * b for a, b in zip(one, other, strict=True)) / (math.hypot(*one) * math.hypot(*other))
        return math.acos(max(-1.0, min(1.0, cosine))) / math.pi

    return sum(min(angle(features[i], features[j]) for j in subset if j != i) for i in subset)


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
