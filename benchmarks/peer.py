"""The peer: the airbench94 recipe in PyTorch, with the parameters that params.yaml gives ours.

Run with the Python of an environment in .venv-bench, `-m benchmarks.peer WORK SETTINGS`; prints a
row as JSON a line. WORK is steps or train; SETTINGS are its arguments as JSON, among them the mode
(eager or compile) and the precision (float32 or bfloat16).
"""

import math
import time
from collections.abc import Callable, Iterator
from itertools import count, islice, pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, as everybody calls it
from joblib import cpu_count
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from benchmarks.turns import Row, answer, duration, training_images
from pipeline.data.arrays import load

MEAN = np.array([0.4914, 0.4822, 0.4465], np.float32)
DEVIATION = np.array([0.2470, 0.2435, 0.2616], np.float32)


class Network(nn.Module):
    """airbench94's network: images (n, 3, 32, 32) to logits (n, 10)."""

    def __init__(self, settings: dict):
        super().__init__()
        self.whitening = nn.Conv2d(3, 24, 2)
        self.whitening.weight.requires_grad = False
        nn.init.zeros_(self.whitening.bias)
        layers = [self.whitening, nn.GELU()]
        for inputs, width in pairwise([24, *settings["widths"]]):
            layers += [convolution(inputs, width), nn.MaxPool2d(2)]
            layers += [normalization(width, settings), nn.GELU(), convolution(width, width)]
            layers += [normalization(width, settings), nn.GELU()]
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Linear(width, 10, bias=False)
        self.head.weight.data /= self.head.weight.data.std()

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(x.to(memory_format=torch.channels_last))
        # The gradient of amax, compiled, divides 0 by 0 in bfloat16.
        return self.head(F.max_pool2d(x, x.shape[2:]).flatten(1)) / x.shape[1]

    def whiten(self, images: Tensor, epsilon: float) -> None:
        """Set the first layer to the whitening of 2 x 2 patches of `images`."""
        patches = F.unfold(images, 2).transpose(1, 2).reshape(-1, 12)
        variances, components = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (components / (variances + epsilon).sqrt()).T.reshape(12, 3, 2, 2)
        self.whitening.weight.data[:] = torch.cat([filters, -filters])


def convolution(inputs: int, width: int) -> nn.Conv2d:
    """Return one that begins as the identity."""
    layer = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
    nn.init.dirac_(layer.weight[:inputs].data)
    return layer


def normalization(width: int, settings: dict) -> nn.BatchNorm2d:
    """Return one whose offset alone is trained."""
    # PyTorch's momentum is the share of the new statistics.
    momentum = 1 - settings["batch_norm_momentum"]
    layer = nn.BatchNorm2d(width, settings["batch_norm_epsilon"], momentum)
    layer.weight.requires_grad = False
    return layer


class Muon(torch.optim.Optimizer):
    """Muon of convolutions with normalized weights; `torch.optim.Muon` takes only matrices."""

    @torch.no_grad()
    def step(self) -> None:
        (group,) = self.param_groups
        a, b, c = 3.4445, -4.7750, 2.0315
        for p in group["params"]:
            velocity = self.state[p].setdefault("velocity", torch.zeros_like(p))
            velocity.mul_(group["momentum"]).add_(p.grad)
            update = (p.grad + group["momentum"] * velocity).reshape(len(p), -1)
            # Newton and Schulz's iterations; no kernel has more outputs than inputs and places.
            x = (update / (update.norm() + 1e-7)).to(group["dtype"])
            for _ in range(group["iterations"]):
                gram = x @ x.T
                x = a * x + (b * gram + c * gram @ gram) @ x
            p.mul_(len(p) ** 0.5 / p.norm())
            p.sub_(group["lr"] * x.view_as(p))


def prepared(
    recipe: dict, mode: str, precision: str, rate: Any, whitening_rate: Any
) -> tuple[Network, Callable[[Tensor, Tensor], None]]:
    """Return the network and its training step.

    SGD trains the biases and the head, Muon the convolutions, by the sum of a batch's losses.
    """
    settings = recipe["optimizer"]
    network = Network(recipe["network"]).to(memory_format=torch.channels_last)
    forward = torch.compile(network) if mode == "compile" else network
    offsets = [each.bias for each in network.blocks if isinstance(each, nn.BatchNorm2d)]
    kernels = [each.weight for each in network.blocks[1:] if isinstance(each, nn.Conv2d)]
    bias, head = settings["bias_learning_rate"], settings["head_learning_rate"]
    rates = [([network.whitening.bias], bias), (offsets, bias), ([network.head.weight], head)]
    decay = settings["sgd_weight_decay"] * recipe["batch_size"]
    groups = [{"params": each, "lr": lr, "weight_decay": decay / lr} for each, lr in rates]
    sgd = torch.optim.SGD(groups, momentum=settings["sgd_momentum"], nesterov=True)
    of_muon = {"lr": settings["kernel_learning_rate"], "momentum": settings["kernel_momentum"]}
    of_muon |= {"iterations": settings["newton_schulz_steps"], "dtype": getattr(torch, precision)}
    muon = Muon(kernels, of_muon)
    schedules = LambdaLR(sgd, [whitening_rate, rate, rate]), LambdaLR(muon, rate)

    def step(x: Tensor, y: Tensor) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = forward(x)
        smoothing = recipe["label_smoothing"]
        loss = F.cross_entropy(logits.float(), y, label_smoothing=smoothing, reduction="sum")
        network.zero_grad()
        loss.backward()
        for each in (sgd, muon, *schedules):
            each.step()

    return network, step


def steps(recipe: dict, mode: str, precision: str, seconds: float) -> Iterator[Row]:
    """Take steps on one batch without end; yield images per second over each span of seconds."""
    _, step = prepared(recipe, mode, precision, lambda _: 1e-3, lambda _: 1e-3)
    size = recipe["batch_size"]
    x, y = torch.rand(size, 3, 32, 32), torch.randint(0, 10, (size,))
    x = x.to(memory_format=torch.channels_last)
    while True:
        yield {"images_per_second": size / duration(lambda: step(x, y), seconds)}


def train(recipe: dict, mode: str, precision: str, seed: int) -> Iterator[Row]:
    """Yield the time after each epoch, start included, and the test accuracy after the last one.

    Only training is on the clock.
    """
    test = standardized(*load("test"))
    start, seconds = time.monotonic(), 0.0
    torch.manual_seed(seed)
    images, labels = standardized(*training_images())
    settings, epochs, size = recipe["network"], recipe["epochs"], recipe["batch_size"]
    steps_an_epoch = math.ceil(len(images) / size)

    def falls_until(epoch: int) -> Callable[[int], float]:
        return lambda done: max(0.0, 1 - done / (steps_an_epoch * epoch or 1))

    whitened = settings["whitening_epochs"]
    network, step = prepared(recipe, mode, precision, falls_until(epochs), falls_until(whitened))
    network.whiten(images[: settings["whitening_images"]], settings["whitening_epsilon"])
    endless = batches(images, labels, size, recipe["augmentation"]["translation"])
    for epoch in range(1, epochs + 1):
        network.whitening.bias.requires_grad_(epoch <= whitened)
        for x, y in islice(endless, steps_an_epoch):
            step(x, y)
        seconds += time.monotonic() - start
        tested = {"tta": accuracy(network, *test)} if epoch == epochs else {}
        yield {"epoch": epoch, "images": len(images), "seconds": seconds, **tested}
        start = time.monotonic()


def standardized(images: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return images (n, 3, 32, 32), standardized, and labels (n,)."""
    images = (images - MEAN) / DEVIATION
    return torch.tensor(images).permute(0, 3, 1, 2), torch.tensor(labels).long()


def batches(
    images: Tensor, labels: Tensor, batch_size: int, shift: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield epoch after epoch without end, flipped in every other one, and moved at random."""
    flipped = torch.rand(len(images)) < 0.5
    images = torch.where(flipped[:, None, None, None], images.flip(-1), images)
    padded = F.pad(images, (shift,) * 4, "reflect").permute(0, 2, 3, 1).contiguous()
    span = torch.arange(images.shape[-1])
    for epoch in count():
        for index in torch.randperm(len(images)).split(batch_size):
            top, left = torch.randint(0, 2 * shift + 1, (2, len(index), 1))
            rows, columns = (top + span)[:, :, None], (left + span)[:, None, :]
            picked = padded[index[:, None, None], rows, columns].permute(0, 3, 1, 2)
            yield picked.flip(-1) if epoch % 2 else picked, labels[index]


@torch.no_grad()
def accuracy(network: Network, images: Tensor, labels: Tensor) -> float:
    """Return the accuracy over six views of each image, flipped and shifted."""
    network.eval()
    padded = F.pad(images, (1,) * 4, "reflect")
    views = [(2, images), (1, padded[..., :32, :32]), (1, padded[..., 2:, 2:])]
    right = 0
    for part in torch.arange(len(images)).split(500):
        weighted = [(weight, view[part]) for weight, view in views]
        logits = sum(weight * (network(x) + network(x.flip(-1))) for weight, x in weighted)
        right += int((logits.argmax(1) == labels[part]).sum())
    return right / len(images)


if __name__ == "__main__":
    torch.set_num_threads(cpu_count())
    answer(steps, train)
