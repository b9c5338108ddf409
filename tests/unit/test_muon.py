"""Steps of Muon and of Nesterov SGD, by their formulas in NumPy."""

import numpy as np
import pytest

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.train.muon import Muon, orthogonalized

import keras  # isort: skip
import tensorflow as tf  # isort: skip


def constant(rate: float) -> keras.optimizers.schedules.PolynomialDecay:
    return keras.optimizers.schedules.PolynomialDecay(rate, 1000, rate)


def falling(rate: float, steps: int) -> keras.optimizers.schedules.PolynomialDecay:
    return keras.optimizers.schedules.PolynomialDecay(rate, steps, 0.0)


def newton_schulz(matrix: np.ndarray, steps: int) -> np.ndarray:
    """Return x after steps of x := 3.4445 x - 4.775 x x' x + 2.0315 x x' x x' x from norm 1."""
    x = matrix.astype(np.float64) / np.sqrt(np.sum(np.square(matrix, dtype=np.float64)))
    for _ in range(steps):
        cubed = x @ x.T @ x
        x = 3.4445 * x - 4.7750 * cubed + 2.0315 * x @ x.T @ cubed
    return x


@pytest.mark.parametrize("shape", [(24, 96), (96, 24), (64, 64)])
def test_orthogonalized_has_singular_values_near_one(shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found = orthogonalized(tf.constant(matrix), 5).numpy()
    u, _, v = np.linalg.svd(matrix, full_matrices=False)
    values = np.diag(u.T @ found @ v.T)
    assert 0.5 < values.min() <= values.max() < 1.3
    np.testing.assert_allclose(u @ np.diag(values) @ v, found, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (5, 5), (1, 4), (4, 1)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_orthogonalized_is_the_published_iteration(
    shape: tuple[int, int], steps: int, scale: float
) -> None:
    matrix = scale * np.random.default_rng(1).normal(size=shape).astype(np.float32)
    found = orthogonalized(tf.constant(matrix, tf.float32), steps)
    np.testing.assert_allclose(found, newton_schulz(matrix, steps), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shape", [(24, 96), (96, 24)])
def test_the_iteration_in_bfloat16_is_near_to_that_in_float32(shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found = orthogonalized(tf.constant(matrix), 3, "bfloat16").numpy()
    expected = newton_schulz(matrix, 3)
    assert found.dtype == np.float32
    assert np.std(found - expected) < 0.08 * np.std(expected)


@pytest.mark.parametrize(
    ("policy", "kind"), [("float32", tf.float32), ("mixed_bfloat16", tf.bfloat16)]
)
def test_products_are_of_the_policy_under_which_the_optimizer_was_made(
    monkeypatch: pytest.MonkeyPatch, policy: str, kind: tf.DType
) -> None:
    monkeypatch.setattr(keras.config, "dtype_policy", lambda: keras.DTypePolicy(policy))
    muon = Muon(constant(0.5), 0.6, 3, {}, 0.85, 0.0)
    kernel = keras.Variable(np.eye(4, 6), dtype="float32", name="kernel")
    muon.build([kernel])
    step = tf.function(lambda gradient: muon.update_step(gradient, kernel, tf.constant(0.1)))
    operations = step.get_concrete_function(tf.ones((4, 6))).graph.get_operations()
    products = {op.outputs[0].dtype for op in operations if "MatMul" in op.type}
    assert (products, kernel.dtype) == ({kind}, "float32")


@pytest.mark.parametrize("shape", [(3, 7), (7, 3)])
def test_orthogonalized_makes_the_smaller_products(shape: tuple[int, int]) -> None:
    """Those of the shorter side, for a matrix as for its transpose."""
    with tf.Graph().as_default() as graph:
        orthogonalized(tf.zeros(shape), 2)
    products = [op.outputs[0].shape for op in graph.get_operations() if "MatMul" in op.type]
    assert products == 2 * [(3, 3), (3, 3), (3, 7)]


def test_orthogonalized_damps_what_is_next_to_zero() -> None:
    """As published, 1e-7 is added to the norm, so that a norm of 1e-7 becomes a half."""
    found = orthogonalized(tf.constant([[1e-7]]), 1)
    np.testing.assert_allclose(found, [[3.4445 / 2 - 4.775 / 8 + 2.0315 / 32]], rtol=1e-5)
    np.testing.assert_array_equal(orthogonalized(tf.zeros((3, 4)), 3), np.zeros((3, 4)))


def test_variables_with_a_rate_take_nesterov_steps() -> None:
    start = np.array([1.0, -2.0, 3.0], np.float32)
    ours, theirs = keras.Variable(start, name="beta"), keras.Variable(start, name="beta")
    muon = Muon(constant(0.5), 0.6, 3, {"beta": (constant(0.1), 0.1)}, 0.85, 0.0)
    sgd = keras.optimizers.SGD(0.1, momentum=0.85, nesterov=True)
    for step in range(5):
        gradient = tf.constant(start * (step - 2))
        muon.apply([gradient], [ours])
        sgd.apply([gradient], [theirs])
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5)


def test_weight_decay_falls_with_the_rate() -> None:
    """Decay / peak rate of a variable is added to its gradient: rate times that is subtracted."""
    expected = np.array([1.0, -2.0, 3.0])
    variable = keras.Variable(expected.astype(np.float32), name="beta")
    muon = Muon(constant(0.5), 0.6, 3, {"beta": (falling(0.2, 4), 0.2)}, 0.7, 0.01)
    velocity = np.zeros(3)
    for step, rate in enumerate([0.2, 0.15, 0.1, 0.05, 0.0, 0.0]):
        gradient = np.array([0.5, 1.0, -1.5]) * (step - 1)
        muon.apply([tf.constant(gradient, tf.float32)], [variable])
        decayed = gradient + 0.01 / 0.2 * expected
        velocity = 0.7 * velocity + decayed
        expected = expected - rate * (decayed + 0.7 * velocity)
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5)


def test_kernels_take_steps_of_muon() -> None:
    """Height, width, inputs and filters of four sizes; a rate that falls; three iterations."""
    generator = np.random.default_rng(0)
    expected = generator.normal(size=(3, 2, 5, 16))
    kernel = keras.Variable(expected.astype(np.float32), name="kernel")
    muon = Muon(falling(0.24, 4), 0.6, 3, {"beta": (constant(0.1), 0.1)}, 0.85, 0.5)
    velocity = np.zeros(expected.shape)
    for rate in (0.24, 0.18, 0.12, 0.06, 0.0, 0.0):
        gradient = generator.normal(size=expected.shape)
        muon.apply([tf.constant(gradient, tf.float32)], [kernel])
        velocity = 0.6 * velocity + gradient
        update = newton_schulz((gradient + 0.6 * velocity).reshape(30, 16), 3)
        scaled = expected * (4 / np.linalg.norm(expected))
        expected = scaled - rate * update.reshape(expected.shape)
        np.testing.assert_allclose(kernel.numpy(), expected, rtol=1e-4, atol=1e-5)
    assert np.linalg.norm(kernel.numpy()) == pytest.approx(4, 1e-5)


def test_its_path_chooses_a_variables_rate() -> None:
    """The whole of it; each variable has a velocity of its own."""
    names = ["bias", "other_bias", "bias_of_another", "last"]
    variables = [keras.Variable(np.full((1, 1, 1, 1), 3.0, np.float32), name=n) for n in names]
    schedules = {"last": (constant(0.5), 0.5), "bias": (constant(0.1), 0.1)}
    muon = Muon(constant(0.2), 0.0, 1, schedules, 0.0, 0.0)
    muon.apply([tf.constant(float(i), shape=(1, 1, 1, 1)) for i in (1, 2, 2, 3)], variables)
    found = [variable.numpy().item() for variable in variables]
    # SGD: 3 - 0.1 * 1; Muon: 1 - 0.2 * (3.4445 - 4.775 + 2.0315), twice; SGD: 3 - 0.5 * 3.
    assert found == pytest.approx([2.9, 0.8598, 0.8598, 1.5], 1e-5)


def test_velocities_belong_to_the_optimizers_variables() -> None:
    variable = keras.Variable(np.ones(2, np.float32), name="beta")
    muon = Muon(constant(0.5), 0.6, 3, {"beta": (constant(0.1), 0.1)}, 0.85, 0.0, name="optimizer")
    muon.build([variable])
    muon.build([variable])
    assert muon.name == "optimizer"
    names = [one.path for one in muon.variables]
    assert len([name for name in names if name.endswith("beta_velocity")]) == 1
    muon.apply([tf.constant([1.0, -2.0])], [variable])
    assert [one.path for one in muon.variables] == names
    np.testing.assert_array_equal(muon.variables[-1].numpy(), [1, -2])
