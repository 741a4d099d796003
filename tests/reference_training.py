"""Training with the paper's two losses, sentence by sentence: one image, one region, one forward at a time.

Nothing of the library is used. Images are normalised, so that 0 is the mean colour; a prior is a mask or None.
"""

import torch

from reference import greedy_order

A, B = 2, 1  # F(S) = 2 p(y | x_S) + 1 (1 - p(y | x_{V without S})), to rank and to penalise
LAMBDA_1 = LAMBDA_2 = 0.5
TAU = 0.15


def shown(image, labels, visible):
    """The image on which only some regions are seen."""
    seen = torch.zeros_like(image)
    for region in visible:
        seen[:, labels == region] = image[:, labels == region]
    return seen


def softmax(logits):
    exponentials = [(z - max(logits)).exp() for z in logits]
    return [e / sum(exponentials) for e in exponentials]


def probability(model, image, labels, visible, target):
    """p(y | x_S), by one forward."""
    return softmax(list(model(shown(image, labels, visible)[None])[0]))[target]


def utility(model, image, labels, subset, target):
    """F(S), by two forwards."""
    rest = set(labels.flatten().tolist()) - set(subset)
    inserted = probability(model, image, labels, subset, target)
    deleted = probability(model, image, labels, rest, target)
    return A * inserted + B * (1 - deleted)


def coverage(labels, region, inside):
    """|v and H| / |v|, pixel by pixel."""
    area = covered = 0
    for row, inside_row in zip(labels.tolist(), inside.tolist(), strict=True):
        for label, is_inside in zip(row, inside_row, strict=True):
            if label == region:
                area += 1
                covered += is_inside
    return covered / area


class Step:
    """One training step: a batch to a loss and its parts, with the order of every aligned image."""

    def __init__(self, model, batch, step, *, interval, confidence_above, max_regions, stop_above):
        images, labels, targets, priors = batch
        model.train()
        probabilities = [softmax(list(row)) for row in model(images)]
        self.task = 0.0
        for index, target in enumerate(targets):
            self.task = self.task - probabilities[index][target].log() / len(targets)
        self.orders, self.deviations, self.redundancies = {}, [], []
        model.eval()
        for index, target in enumerate(targets) if step % interval == 0 else ():
            found = [p.item() for p in probabilities[index]]
            is_right = found[target] == max(found)
            if is_right and found[target] > confidence_above and priors[index] is not None:
                self._align(model, index, images[index], labels[index], target, priors[index], max_regions, stop_above)
        self.deviation, self.redundancy = mean(self.deviations), mean(self.redundancies)
        self.loss = self.task + LAMBDA_1 * self.deviation + LAMBDA_2 * self.redundancy

    def _align(self, model, index, image, labels, target, inside, max_regions, stop_above):
        with torch.no_grad():
            order, _ = greedy_order(
                lambda subset: float(probability(model, image, labels, subset, target)),
                len(labels.unique()), A, B, max_regions=min(max_regions, len(labels.unique())), stop_above=stop_above,
            )  # fmt: skip
        self.orders[index] = order
        for rank, region in enumerate(order):
            if coverage(labels, region, inside) >= TAU:
                continue
            after = utility(model, image, labels, order[: rank + 1], target)
            if rank == 0:
                self.deviations.append(after)
            else:
                before = utility(model, image, labels, order[:rank], target).detach()
                self.redundancies.append(torch.clamp(after - before, min=0))


def mean(examples):
    return sum(examples, torch.zeros(())) / max(len(examples), 1)


class AdamW:
    """Loshchilov and Hutter's algorithm 2 with a constant rate, weight by weight."""

    def __init__(self, weights, rate, decay, betas=(0.9, 0.999), epsilon=1e-8):
        self.weights, self.rate, self.decay, self.betas, self.epsilon = list(weights), rate, decay, betas, epsilon
        self.first = [torch.zeros_like(weight) for weight in self.weights]
        self.second = [torch.zeros_like(weight) for weight in self.weights]
        self.steps = 0

    @torch.no_grad()
    def step(self):
        self.steps += 1
        fast, slow = self.betas
        for index, weight in enumerate(self.weights):
            gradient = weight.grad
            self.first[index] = fast * self.first[index] + (1 - fast) * gradient
            self.second[index] = slow * self.second[index] + (1 - slow) * gradient**2
            corrected = self.first[index] / (1 - fast**self.steps)
            scale = (self.second[index] / (1 - slow**self.steps)).sqrt() + self.epsilon
            weight.mul_(1 - self.rate * self.decay).sub_(self.rate * corrected / scale)
            weight.grad = None
