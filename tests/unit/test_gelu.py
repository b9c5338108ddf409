"""GELU in one pass, by SciPy's normal distribution."""

import numpy as np
import pytest
from scipy.stats import norm

from stages import device as device  # First, since TensorFlow reads what it sets.
from stages.models.compiled_gelu import CompiledGelu, rounded

import keras  # isort: skip
import tensorflow as tf  # isort: skip


def test_values_and_gradients_are_those_of_the_normal_distribution() -> None:
    """X times the share below x; its gradient is that share plus x times the density."""
    x = np.linspace(-8, 8, 1602).reshape(2, -1)
    upstream = np.linspace(3, -2, x.size).reshape(x.shape)
    with tf.GradientTape() as tape:
        inputs = tf.constant(x, tf.float32)
        tape.watch(inputs)
        outputs = CompiledGelu()(inputs)
    gradient = tape.gradient(outputs, inputs, tf.constant(upstream, tf.float32))
    np.testing.assert_allclose(outputs, x * norm.cdf(x), rtol=1e-5, atol=2e-6)
    expected = upstream * (norm.cdf(x) + x * norm.pdf(x))
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=5e-6)


def test_compiled_gelu_equals_keras() -> None:
    """Outputs and gradients, with Keras's GELU in float64 as the truth."""
    x = np.linspace(-8, 8, 4001).reshape(1, -1)
    results = []
    for layer in (keras.layers.Activation("gelu", dtype="float64"), CompiledGelu()):
        with tf.GradientTape() as tape:
            inputs = tf.constant(x, layer.compute_dtype)
            tape.watch(inputs)
            outputs = layer(inputs)
            loss = tf.reduce_sum(outputs**2)
        results.append([outputs, tape.gradient(loss, inputs)])
    for expected, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)


def test_of_bfloat16_only_the_results_are_rounded() -> None:
    """Which has 8 bits of a number's value, so half a unit of the last place is 1/256 at most."""
    inputs = tf.cast(np.linspace(-4, 4, 401), tf.bfloat16)
    x = inputs.numpy().astype(float)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = CompiledGelu(dtype="mixed_bfloat16")(inputs)
    gradient = tape.gradient(outputs, inputs)
    assert (outputs.dtype, gradient.dtype) == (tf.bfloat16, tf.bfloat16)
    found = [tensor.numpy().astype(float) for tensor in (outputs, gradient)]
    for values, expected in zip(
        found, (x * norm.cdf(x), norm.cdf(x) + x * norm.pdf(x)), strict=True
    ):
        np.testing.assert_allclose(values, expected, rtol=1 / 256, atol=1e-5)


def test_larger_numbers_have_no_limit() -> None:
    """Where the share below x is 0 or 1, to within the 2e-8 that it is at 5.5."""
    x = tf.constant([-1000, -100, -10, -5.6, 5.6, 10, 100, 1000], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = CompiledGelu()(x)
    np.testing.assert_allclose(outputs, np.maximum(x, 0), rtol=2e-7, atol=3e-4)
    np.testing.assert_allclose(tape.gradient(outputs, x), x > 0, atol=1e-6)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_what_is_no_number_stays_so(policy: str) -> None:
    """A training stops when its loss is not finite, which no layer may hide."""
    layer = CompiledGelu(dtype=policy)
    outputs = layer(tf.constant([np.nan, np.inf], layer.compute_dtype))
    np.testing.assert_array_equal(tf.cast(outputs, tf.float32), [np.nan, np.inf])


def test_in_bfloat16_it_takes_float32_as_well() -> None:
    """As the first layer leaves it: rounded once, after GELU; its gradient is float32 again."""
    x = np.linspace(-4, 4, 4001).astype(np.float32)
    inputs = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = CompiledGelu(dtype="mixed_bfloat16")(inputs)
    gradient = tape.gradient(outputs, inputs)
    assert (outputs.dtype, gradient.dtype) == (tf.bfloat16, tf.float32)
    exact = (x * norm.cdf(x)).astype(np.float32)
    assert np.mean(outputs == tf.cast(exact, tf.bfloat16)) > 0.99
    np.testing.assert_allclose(gradient, norm.cdf(x) + x * norm.pdf(x), atol=5e-6)


def test_numbers_are_rounded_to_the_nearest() -> None:
    """Both neighbours of a bfloat16 number, and the middle between two, away from zero."""
    one = np.float32(1)
    step = np.float32(2**-7)
    x = np.array([1, 1.0038, 1.00390625, 1.004, -1.00390625], np.float32)
    found = tf.cast(rounded(tf.constant(x), tf.bfloat16), tf.float32)
    np.testing.assert_array_equal(found, [one, one, one + step, one + step, -one - step])


def test_it_is_compiled() -> None:
    with tf.Graph().as_default() as graph:
        CompiledGelu()(tf.zeros(4))
    calls = [op for op in graph.get_operations() if op.type.endswith("PartitionedCall")]
    assert [call.get_attr("_XlaMustCompile") for call in calls] == [True]


def test_compiled_gelu_is_nothing_else() -> None:
    assert (
        CompiledGelu.from_config(CompiledGelu().get_config()).activation is keras.activations.gelu
    )
    with pytest.raises(ValueError, match="only 'gelu'") as caught:
        CompiledGelu("relu")
    assert str(caught.value) == "activation 'relu': only 'gelu'"


def test_compiled_gelu_takes_the_settings_of_any_layer() -> None:
    assert CompiledGelu(name="third").name == "third"
