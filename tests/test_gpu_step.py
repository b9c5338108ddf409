"""The step as a GPU takes it, on the CPU: compiled by XLA, in bfloat16, of ops that a GPU has."""

from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.python.framework.kernels import get_registered_kernels_for_op

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.train.loop import train
from stages.train.params import Recipe
from stages.train.recipes import Training, assemble
from stages.train.steps import compiled_steps, training_step, validation_step
from tests.unit.tiny_recipes import tiny

import keras  # isort: skip
import tensorflow as tf  # isort: skip

IMAGES = np.random.default_rng(1).random((12, 32, 32, 3), np.float32)
LABELS = (np.arange(12) % 10).astype(np.uint8)
# XLA draws other numbers for dropout. Every augmentation is tried.
NO_DROPOUT = {"dropout": 0.0, "dense_dropout": 0.0}
EVERYTHING = {"flip": "random", "translation": 2, "border": "zero", "cutout": 4}
EVERYTHING |= {"brightness": 0.1, "contrast": 0.1}
AIRBENCH = {"batch_size": 6, "ema_momentum": 0.5, "keep": "best"}
RECIPES = {
    # One phase, since each is compiled.
    "airbench": tiny("airbench_small", network={"whitening_epochs": 2}, **AIRBENCH),
    # Of each batch the hardest half is trained.
    "tutorial": tiny("tutorial", batch_size=6, network=NO_DROPOUT, hardest_share=0.5),
    # The last batch of an epoch is smaller.
    "resnet": tiny("resnet20", batch_size=5, augmentation=EVERYTHING),
}


@pytest.fixture
def precision(request: pytest.FixtureRequest) -> str:
    """Let Keras compute in a precision."""
    keras.config.set_dtype_policy("mixed_bfloat16" if request.param == "bfloat16" else "float32")
    return request.param


def assembled(recipe: Recipe, on_cpu: bool = False) -> Training:
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(0)
    return assemble(recipe, IMAGES, LABELS, seed=0, on_cpu=on_cpu)


def losses(recipe: Recipe, on_cpu: bool, on_gpu: bool) -> list[float]:
    """Train, all epochs on the images as they are, and return the losses."""
    whole = recipe.augmentation.model_copy(update={"low_resolution_share": 0.0})
    recipe = recipe.model_copy(update={"augmentation": whole})
    training = assembled(recipe, on_cpu)
    rows = [*train(training, IMAGES[:7], LABELS[:7], on_gpu=on_gpu)]
    # Weights and the optimizer's state, whatever the layers compute in.
    assert {variable.dtype for variable in training.state} <= {"float32", "int64", "int32"}
    return [row[key] for row in rows for key in ("loss", "val_loss")]


@cache
def plain_losses(name: str) -> list[float]:
    """Return the losses of the plain path: no XLA, float32, the layers made for CPUs."""
    keras.config.set_dtype_policy("float32")
    return losses(RECIPES[name], on_cpu=True, on_gpu=False)


@pytest.mark.parametrize("name", RECIPES)
def test_the_step_compiled_by_xla_learns_the_same(name: str) -> None:
    found = losses(RECIPES[name], on_cpu=False, on_gpu=True)
    assert found == pytest.approx(plain_losses(name), 1e-3)


@pytest.mark.parametrize("precision", ["bfloat16"], indirect=True)
@pytest.mark.parametrize("name", RECIPES)
def test_bfloat16_learns_the_same(name: str, precision: str) -> None:
    """Which has 8 bits of a number's value, float32 24; with the layers for CPUs and for GPUs.

    The latter compiled where that does not take long.
    """
    expected = plain_losses(name)
    keras.config.set_dtype_policy("mixed_bfloat16")
    for on_cpu in (True, False):
        found = losses(RECIPES[name], on_cpu, on_gpu=name == "tutorial" and not on_cpu)
        assert found == pytest.approx(expected, 0.1)
        assert found != pytest.approx(expected, 1e-4)


# What a GPU does not compute: inputs, constants, calls of functions and loops.
STRUCTURE = {
    *("Placeholder", "NoOp", "Const", "PartitionedCall", "StatefulPartitionedCall"),
    *("While", "StatelessWhile", "If", "StatelessIf", "_Arg", "_Retval"),
}


def has_gpu_kernel(node: NodeDef) -> bool:
    """Return whether TensorFlow has a kernel of CUDA for an operation on its types."""
    return any(
        kernel.device_type in ("GPU", "DEFAULT")
        and all(
            node.attr[constraint.name].type in constraint.allowed_values.list.type
            for constraint in kernel.constraint
        )
        for kernel in get_registered_kernels_for_op(node.op).kernel
    )


def nodes_of(function: Any, *arguments: Any) -> list[NodeDef]:
    """Return the operations of a function and of those that it calls."""
    graph = function.get_concrete_function(*arguments).graph.as_graph_def()
    return [*graph.node, *(node for nested in graph.library.function for node in nested.node_def)]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"], indirect=True)
@pytest.mark.parametrize("name", RECIPES)
def test_a_gpu_has_every_operation(name: str, precision: str) -> None:
    """Of the last phase; those before it have the same layers, on smaller images."""
    recipes = RECIPES | {"airbench": tiny("airbench_small", **AIRBENCH)}
    training = assembled(recipes[name])
    last = training.phases[-1]
    batches = last.batches
    chunk = next(batches.chunks(batches.plan(0), 2))
    for step in (training_step(training, last), validation_step(training)):
        steps = compiled_steps(batches, step, on_gpu=False)
        assert isinstance(steps, partial)
        nodes = nodes_of(steps.func, batches.data, chunk, tf.zeros(2))
        assert len(nodes) > 50
        assert not {
            (node.op, tf.dtypes.as_dtype(node.attr["T"].type))
            for node in nodes
            if node.op not in STRUCTURE and not has_gpu_kernel(node)
        }
