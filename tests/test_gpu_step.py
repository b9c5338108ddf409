"""The step as a GPU takes it, on the CPU: compiled by XLA, in bfloat16, of ops that a GPU has."""

from typing import Any

import numpy as np
import pytest

from pipeline import networks
from pipeline.common.config import Recipe, part_classes
from stages.train import train

import keras
import tensorflow as tf
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.python.framework.kernels import get_registered_kernels_for_op

CLASSES, SIDE = 10, 16
GENERATOR = np.random.default_rng(1)
TRAINING = GENERATOR.random((12, SIDE, SIDE, 3), np.float32), (np.arange(12) % 10).astype(np.uint8)
VALIDATION = TRAINING[0][:7], TRAINING[1][:7]
# XLA draws other numbers for dropout. Every augmentation is tried.
EVERYTHING = {"flip": "random", "translation": 2, "padding_mode": "zeros", "cutout": 4}
EVERYTHING |= {"brightness": 0.1, "contrast": 0.1, "noise": 0.1}
MORE: dict[str, dict[str, Any]] = {
    "airbench": {"ema_momentum": 0.5, "restore_best_weights": True},
    # Of each batch the hardest half is trained.
    "tutorial": {"hard_example_fraction": 0.5, "augmentation": EVERYTHING},
}
OPTIMIZERS = {"airbench": "muon", "tutorial": "rmsprop"}


def recipe_of(name: str) -> Recipe:
    """Return a recipe whose network is as narrow and flat as can be."""
    network: Any = part_classes("network")[name].model_validate({"name": name})
    changed = {"dropout": 0.0, "dense_dropout": 0.0, "filters": [2], "pool_after": [1], "depth": 8}
    known = {key: value for key, value in changed.items() if key in type(network).model_fields}
    content = {
        "network": networks.narrowed(network, 0.1).model_dump() | known,
        "optimizer": {"name": OPTIMIZERS.get(name, "sgd")},
        "schedule": {"name": "linear"},
        "batch_size": 6,
        "epochs": 2,
    }
    return Recipe.model_validate(content | MORE.get(name, {}))


def losses(name: str, on_gpu: bool) -> list[float]:
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(0)
    *_, (history, _) = train(recipe_of(name), TRAINING, VALIDATION, CLASSES, 0, on_gpu)
    return [row[key] for row in history for key in ("loss", "val_loss")]


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


@pytest.mark.parametrize("name", part_classes("network"))
def test_the_step_learns_the_same_by_xla_in_each_precision_of_a_gpus_operations(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # No XLA, float32, the layers made for CPUs.
    expected = losses(name, on_gpu=False)
    # The residual network has the same layers for a GPU.
    if name != "resnet":
        assert losses(name, on_gpu=True) == pytest.approx(expected, 1e-3)

    compiled, tf_function = [], tf.function

    def function(*given: Any, **options: Any) -> Any:
        compiled.append(tf_function(*given, **options))
        return compiled[-1]

    monkeypatch.setattr(tf, "function", function)
    # Which has 8 bits of a number's value, float32 24.
    keras.config.set_dtype_policy("mixed_bfloat16")
    found = losses(name, on_gpu=True)
    assert found == pytest.approx(expected, 0.1)
    assert found != pytest.approx(expected, 1e-4)

    # As they are before XLA, which has kernels of its own.
    graphs = [
        concrete.graph.as_graph_def()
        for each in compiled
        if isinstance(each, tf.types.experimental.PolymorphicFunction)
        for concrete in each._list_all_concrete_functions_for_serialization()
    ]
    nodes = [
        node
        for graph in graphs
        for node in (*graph.node, *(n for f in graph.library.function for n in f.node_def))
    ]
    assert len(nodes) > 100
    assert not {
        (node.op, tf.dtypes.as_dtype(node.attr["T"].type))
        for node in nodes
        if node.op not in STRUCTURE and not has_gpu_kernel(node)
    }
