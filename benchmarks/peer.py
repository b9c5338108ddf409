"""The peer: the airbench94 recipe in PyTorch, with the parameters that params.yaml gives ours.

Run with the Python of an environment in .venv-bench; prints JSON, a line for each result.

    python -m benchmarks.peer steps DEVICE MODE PRECISION BATCH_SIZE RECIPE_JSON SECONDS
    python -m benchmarks.peer train DEVICE MODE PRECISION BATCH_SIZE RECIPE_JSON SEED

DEVICE is cpu or cuda, MODE eager or compile, PRECISION float32 or bfloat16.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, as everybody calls it
from joblib import cpu_count
from torch import Tensor, nn

from benchmarks.turns import Row, print_in_turns, timed, training_images
from pipeline.data.arrays import load

MEAN = np.array([0.4914, 0.4822, 0.4465], np.float32)
DEVIATION = np.array([0.2470, 0.2435, 0.2616], np.float32)
QUINTIC = (3.4445, -4.7750, 2.0315)


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


class Network(nn.Module):
    """airbench94's network; returns logits."""

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
        """Return the logits (n, 10) of images (n, 3, 32, 32)."""
        x = self.blocks(x.to(memory_format=torch.channels_last))
        # The gradient of amax, compiled, divides 0 by 0 in bfloat16.
        return self.head(F.max_pool2d(x, x.shape[2:]).flatten(1)) / x.shape[1]

    def whiten(self, images: Tensor, epsilon: float) -> None:
        """Set the first layer to the whitening of 2 x 2 patches of `images`."""
        patches = F.unfold(images, 2).transpose(1, 2).reshape(-1, 12)
        variances, components = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (components / (variances + epsilon).sqrt()).T.reshape(12, 3, 2, 2)
        self.whitening.weight.data[:] = torch.cat([filters, -filters])


class Muon(torch.optim.Optimizer):
    """Muon of convolutions with normalized weights."""

    def __init__(
        self, params: list[Tensor], lr: float, momentum: float, iterations: int, dtype: torch.dtype
    ):
        super().__init__(params, {"lr": lr, "momentum": momentum})
        self.iterations, self.dtype = iterations, dtype

    @torch.no_grad()
    def step(self) -> None:
        """Take one step."""
        (group,) = self.param_groups
        for p in group["params"]:
            velocity = self.state[p].setdefault("velocity", torch.zeros_like(p))
            velocity.mul_(group["momentum"]).add_(p.grad)
            update = (p.grad + group["momentum"] * velocity).reshape(len(p), -1)
            p.mul_(len(p) ** 0.5 / p.norm())
            p.sub_(group["lr"] * self.orthogonalized(update).view_as(p))

    def orthogonalized(self, matrix: Tensor) -> Tensor:
        """Return it after Newton-Schulz iterations."""
        a, b, c = QUINTIC
        tall = matrix.shape[0] > matrix.shape[1]
        x = matrix.T if tall else matrix
        x = (x / (x.norm() + 1e-7)).to(self.dtype)
        for _ in range(self.iterations):
            gram = x @ x.T
            x = a * x + (b * gram + c * gram @ gram) @ x
        return x.T if tall else x


def prepared(
    recipe: dict, mode: str, precision: str, batch_size: int
) -> tuple[Network, Callable[[Tensor, Tensor, float, float], None]]:
    """Return the network and its training step; rates are given as shares of the first ones.

    SGD trains the biases and the head, Muon the convolutions, by the sum of a batch's losses.
    """
    settings = recipe["optimizer"]
    network = Network(recipe["network"]).to(memory_format=torch.channels_last)
    forward = torch.compile(network) if mode == "compile" else network
    layers = [*network.blocks]
    offsets = [layer.bias for layer in layers if isinstance(layer, nn.BatchNorm2d)]
    kernels = [layer.weight for layer in layers[1:] if isinstance(layer, nn.Conv2d)]
    bias, head = settings["bias_learning_rate"], settings["head_learning_rate"]
    decay = settings["sgd_weight_decay"] * batch_size
    groups = [
        {"params": [network.whitening.bias], "lr": bias, "weight_decay": decay / bias},
        {"params": offsets, "lr": bias, "weight_decay": decay / bias},
        {"params": [network.head.weight], "lr": head, "weight_decay": decay / head},
    ]
    sgd = torch.optim.SGD(groups, momentum=settings["sgd_momentum"], nesterov=True)
    rate, momentum = settings["kernel_learning_rate"], settings["kernel_momentum"]
    dtype = getattr(torch, precision)
    muon = Muon(kernels, rate, momentum, settings["newton_schulz_steps"], dtype)

    def step(x: Tensor, y: Tensor, left: float, whitening_left: float) -> None:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            logits = forward(x)
        loss = F.cross_entropy(
            logits.float(), y, label_smoothing=recipe["label_smoothing"], reduction="sum"
        )
        sgd.zero_grad()
        muon.zero_grad()
        loss.backward()
        rates = (bias * whitening_left, bias * left, head * left, rate * left)
        for group, now in zip([*sgd.param_groups, *muon.param_groups], rates, strict=True):
            group["lr"] = now
        sgd.step()
        muon.step()

    return network, step


def wait() -> None:
    """Return once a GPU has done what it was given."""
    if torch.get_default_device().type == "cuda":
        torch.cuda.synchronize()


def steps(
    recipe: dict, mode: str, precision: str, batch_size: int, seconds: float
) -> Iterator[Row]:
    """Take steps on one batch without end; return images per second over each span of seconds."""
    _, step = prepared(recipe, mode, precision, batch_size)
    x, y = torch.rand(batch_size, 3, 32, 32), torch.randint(0, 10, (batch_size,))
    x = x.to(memory_format=torch.channels_last)

    def work() -> None:
        step(x, y, 1e-3, 1e-3)
        wait()

    while True:
        yield {"images_per_second": batch_size / median(timed(work, seconds))}


def standardized(images: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return images (n, 3, 32, 32), standardized, and labels (n,)."""
    images = (images - MEAN) / DEVIATION
    return torch.tensor(images).permute(0, 3, 1, 2), torch.tensor(labels).long()


def batches(
    images: Tensor, labels: Tensor, batch_size: int, shift: int, epochs: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Return images and labels of each batch: alternating flip and translation."""
    flipped = torch.rand(len(images)) < 0.5
    images = torch.where(flipped[:, None, None, None], images.flip(-1), images)
    padded = F.pad(images, (shift,) * 4, "reflect").permute(0, 2, 3, 1).contiguous()
    span = torch.arange(images.shape[-1])
    for epoch in range(epochs):
        for index in torch.randperm(len(images)).split(batch_size):
            top, left = torch.randint(0, 2 * shift + 1, (2, len(index), 1))
            rows, columns = (top + span)[:, :, None], (left + span)[:, None, :]
            picked = padded[index[:, None, None], rows, columns].permute(0, 3, 1, 2)
            yield picked.flip(-1) if epoch % 2 else picked, labels[index]


def accuracy(network: Network, images: Tensor, labels: Tensor) -> float:
    """Return the accuracy over six views of each image, flipped and shifted."""
    network.eval()
    padded = F.pad(images, (1,) * 4, "reflect")
    views = [(0.5, images), (0.25, padded[..., :32, :32]), (0.25, padded[..., 2:, 2:])]
    right = 0
    with torch.no_grad():
        for part in torch.arange(len(images)).split(500):
            both = [(w, x) for w, view in views for x in (view[part], view[part].flip(-1))]
            logits = sum(weight * network(x) for weight, x in both)
            right += int((logits.argmax(1) == labels[part]).sum())
    return right / len(images)


def train(recipe: dict, mode: str, precision: str, batch_size: int, seed: int) -> Iterator[Row]:
    """Return the time after each epoch, start included, and the test accuracy after the last one.

    Only training is on the clock.
    """
    test = standardized(*load("test"))
    start = time.monotonic()
    torch.manual_seed(seed)
    images, labels = standardized(*training_images())
    network, step = prepared(recipe, mode, precision, batch_size)
    settings, epochs = recipe["network"], recipe["epochs"]
    network.whiten(images[: settings["whitening_images"]], settings["whitening_epsilon"])
    per_epoch = -(-len(images) // batch_size)
    seconds = 0.0
    translation = recipe["augmentation"]["translation"]
    for done, (x, y) in enumerate(batches(images, labels, batch_size, translation, epochs)):
        left = 1 - done / (per_epoch * epochs)
        whitening_left = max(0.0, 1 - done / (per_epoch * settings["whitening_epochs"]))
        network.whitening.bias.requires_grad_(whitening_left > 0)
        step(x, y, left, whitening_left)
        epoch, rest = divmod(done + 1, per_epoch)
        if not rest:
            wait()
            seconds += time.monotonic() - start
            row = {"epoch": epoch, "seconds": seconds}
            yield row | ({"tta": accuracy(network, *test)} if epoch == epochs else {})
            start = time.monotonic()


if __name__ == "__main__":
    torch.set_num_threads(cpu_count())
    what, device, mode, precision, size, recipe, last = sys.argv[1:]
    # A default device slows each call of PyTorch, even if it is the CPU.
    if device != "cpu":
        torch.set_default_device(device)
    settings = json.loads(recipe), mode, precision, int(size)
    print_in_turns(
        steps(*settings, float(last)) if what == "steps" else train(*settings, int(last))
    )
