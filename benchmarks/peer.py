"""The peer: the airbench94 recipe in PyTorch, with the parameters that params.yaml gives ours.

Run with the Python of the benchmark's own environment; prints JSON, a line for each result.

    python -m benchmarks.peer throughput DEVICE MODE PRECISION BATCH_SIZE RECIPE_JSON SECONDS
    python -m benchmarks.peer train DEVICE MODE PRECISION BATCH_SIZE RECIPE_JSON SEED

DEVICE is cpu or cuda, MODE eager or compile, PRECISION float32 or bfloat16.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, as everybody calls it
from torch import Tensor, nn

from benchmarks.images import training_images
from benchmarks.timing import timed
from benchmarks.turns import print_in_turns
from stages import arrays
from stages.processors import usable

MEAN = np.array([0.4914, 0.4822, 0.4465], np.float32)
DEVIATION = np.array([0.2470, 0.2435, 0.2616], np.float32)
QUINTIC = (3.4445, -4.7750, 2.0315)


class Block(nn.Module):
    """Two convolutions, the first one followed by pooling."""

    def __init__(self, inputs: int, width: int, momentum: float, epsilon: float):
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels, width, 3, padding=1, bias=False) for channels in (inputs, width)
        )
        # PyTorch's momentum is the share of the new statistics.
        self.normalizations = nn.ModuleList(
            nn.BatchNorm2d(width, epsilon, 1 - momentum) for _ in range(2)
        )
        for convolution, normalization in zip(self.convolutions, self.normalizations, strict=True):
            nn.init.dirac_(convolution.weight[: convolution.in_channels].data)
            normalization.weight.requires_grad = False

    def forward(self, x: Tensor) -> Tensor:
        """Halve height and width of (n, inputs, height, width), to width channels."""
        x = F.max_pool2d(self.convolutions[0](x), 2)
        x = F.gelu(self.normalizations[0](x))
        return F.gelu(self.normalizations[1](self.convolutions[1](x)))


class Network(nn.Module):
    """airbench94's network; returns logits."""

    def __init__(self, widths: list[int], momentum: float, epsilon: float):
        super().__init__()
        self.whitening = nn.Conv2d(3, 24, 2)
        self.whitening.weight.requires_grad = False
        nn.init.zeros_(self.whitening.bias)
        sizes = zip([24, *widths], widths, strict=False)
        self.blocks = nn.Sequential(*(Block(i, o, momentum, epsilon) for i, o in sizes))
        self.head = nn.Linear(widths[-1], 10, bias=False)
        self.head.weight.data /= self.head.weight.data.std()

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (n, 10) of images (n, 3, 32, 32)."""
        x = self.blocks(F.gelu(self.whitening(x)))
        # The gradient of amax, compiled, divides 0 by 0 in bfloat16.
        return self.head(F.max_pool2d(x, x.shape[2:]).flatten(1)) / x.shape[1]

    def whiten(self, images: Tensor, epsilon: float) -> None:
        """Set the first layer to the whitening of 2 x 2 patches of `images`."""
        patches = F.unfold(images, 2).transpose(1, 2).reshape(-1, 12)
        variances, components = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (components / (variances + epsilon).sqrt()).T.reshape(12, 3, 2, 2)
        self.whitening.weight.data[:] = torch.cat([filters, -filters])


def orthogonalized(matrix: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    """Newton-Schulz iterations of Muon, their products in `dtype`."""
    a, b, c = QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = (x / (x.norm() + 1e-7)).to(dtype)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Muon of convolutions with normalized weights."""

    def __init__(
        self, params: list[Tensor], lr: float, momentum: float, steps: int, dtype: torch.dtype
    ):
        super().__init__(params, {"lr": lr, "momentum": momentum, "steps": steps})
        self.dtype = dtype

    @torch.no_grad()
    def step(self) -> None:
        """Take one step."""
        for group in self.param_groups:
            for p in group["params"]:
                velocity = self.state[p].setdefault("velocity", torch.zeros_like(p))
                velocity.mul_(group["momentum"]).add_(p.grad)
                update = (p.grad + group["momentum"] * velocity).reshape(len(p), -1)
                p.mul_(len(p) ** 0.5 / p.norm())
                p.sub_(group["lr"] * orthogonalized(update, group["steps"], self.dtype).view_as(p))


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


def accuracies(network: Network, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return the accuracy without and with flip and translation at test time."""
    network.eval()
    padded = F.pad(images, (1,) * 4, "reflect")
    views = [(0.5, images), (0.25, padded[..., :32, :32]), (0.25, padded[..., 2:, 2:])]
    with torch.no_grad():
        plain, mean = torch.zeros(len(images), 10), torch.zeros(len(images), 10)
        for start in range(0, len(images), 500):
            part = slice(start, start + 500)
            plain[part] = network(images[part])
            for weight, view in views:
                for x in (view[part], view[part].flip(-1)):
                    mean[part] += weight / 2 * network(x.to(memory_format=torch.channels_last))
    network.train()
    correct = [(logits.argmax(1) == labels).float().mean().item() for logits in (plain, mean)]
    return correct[0], correct[1]


def optimizers(
    network: Network, recipe: dict, precision: str, batch_size: int
) -> list[torch.optim.Optimizer]:
    """Return SGD for biases and head, Muon for convolutions; the loss is a batch's sum."""
    settings = recipe["optimizer"]
    bias, head = settings["bias_learning_rate"], settings["head_learning_rate"]
    decay = settings["sgd_weight_decay"] * batch_size
    offsets = [n.bias for n in network.modules() if isinstance(n, nn.BatchNorm2d)]
    kernels = [p for n, p in network.named_parameters() if "convolutions" in n]
    groups = [
        {"params": [network.whitening.bias], "lr": bias, "weight_decay": decay / bias},
        {"params": offsets, "lr": bias, "weight_decay": decay / bias},
        {"params": [network.head.weight], "lr": head, "weight_decay": decay / head},
    ]
    return [
        torch.optim.SGD(groups, momentum=settings["sgd_momentum"], nesterov=True),
        Muon(
            kernels,
            settings["kernel_learning_rate"],
            settings["kernel_momentum"],
            settings["newton_schulz_steps"],
            getattr(torch, precision),
        ),
    ]


def train(recipe: dict, mode: str, precision: str, batch_size: int, seed: int) -> Iterator[dict]:
    """Return the time after each epoch, start included, and the test accuracies after the last one.

    Only training is on the clock.
    """
    test = standardized(*arrays.load("test"))
    start = time.monotonic()
    torch.manual_seed(seed)
    images, labels = standardized(*training_images())
    network, step = prepared(recipe, mode, precision, batch_size)
    settings = recipe["network"]
    network.whiten(images[: settings["whitening_images"]], settings["whitening_epsilon"])
    steps = -(-len(images) // batch_size)
    seconds = 0.0
    translation = recipe["augmentation"]["translation"]
    stream = batches(images, labels, batch_size, translation, recipe["epochs"])
    for done, (x, y) in enumerate(stream, start=1):
        left = 1 - (done - 1) / (steps * recipe["epochs"])
        bias_left = max(0.0, 1 - (done - 1) / (steps * settings["whitening_epochs"]))
        network.whitening.bias.requires_grad_(bias_left > 0)
        step(x, y, left, bias_left)
        if done % steps == 0:
            wait()
            seconds += time.monotonic() - start
            result = {"epoch": done // steps, "seconds": seconds}
            if done == steps * recipe["epochs"]:
                result["plain"], result["tta"] = accuracies(network, *test)
            yield result
            start = time.monotonic()


def wait() -> None:
    """Return once a GPU has done what it was given."""
    if torch.get_default_device().type == "cuda":
        torch.cuda.synchronize()


def prepared(
    recipe: dict, mode: str, precision: str, batch_size: int
) -> tuple[Network, Callable[[Tensor, Tensor, float, float], None]]:
    """Return the network and its training step; rates are given as shares of the first ones."""
    settings = recipe["network"]
    network = Network(
        settings["widths"], settings["batch_norm_momentum"], settings["batch_norm_epsilon"]
    ).to(memory_format=torch.channels_last)
    forward = torch.compile(network) if mode == "compile" else network
    sgd, muon = optimizers(network, recipe, precision, batch_size)
    first = [group["lr"] for group in sgd.param_groups]

    def step(x: Tensor, y: Tensor, left: float, bias_left: float) -> None:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            logits = forward(x.to(memory_format=torch.channels_last))
        loss = F.cross_entropy(
            logits.float(), y, label_smoothing=recipe["label_smoothing"], reduction="sum"
        )
        sgd.zero_grad()
        muon.zero_grad()
        loss.backward()
        for group, rate, share in zip(
            sgd.param_groups, first, (bias_left, left, left), strict=True
        ):
            group["lr"] = rate * share
        muon.param_groups[0]["lr"] = recipe["optimizer"]["kernel_learning_rate"] * left
        sgd.step()
        muon.step()

    return network, step


def throughput(
    recipe: dict, mode: str, precision: str, batch_size: int, seconds: float
) -> list[float]:
    """Return images per second of each step on one batch."""
    _, step = prepared(recipe, mode, precision, batch_size)
    x, y = torch.rand(batch_size, 3, 32, 32), torch.randint(0, 10, (batch_size,))
    x = x.to(memory_format=torch.channels_last)

    def work() -> None:
        step(x, y, 1e-3, 1e-3)
        wait()

    durations = timed(work, seconds)
    return [batch_size / duration for duration in durations]


def main() -> None:
    torch.set_num_threads(usable())
    what, device, mode, precision, batch_size, recipe, last = sys.argv[1:]
    # A default device slows each call of PyTorch, even if it is the CPU.
    if device != "cpu":
        torch.set_default_device(device)
    settings = json.loads(recipe), mode, precision, int(batch_size)
    if what == "throughput":
        print(json.dumps({"images_per_second": throughput(*settings, float(last))}))
        return
    print_in_turns(train(*settings, int(last)))


if __name__ == "__main__":
    main()
