"""The independent random streams."""

import numpy as np

from pipeline.common.randomness import stream


def test_a_stream_is_that_of_seed_checksum_of_the_name_and_epoch() -> None:
    """0xCBF43926 is the check value that the definition of CRC-32 gives for these nine digits."""
    expected = np.random.default_rng([7, 0xCBF43926, 3]).random(4)
    np.testing.assert_array_equal(stream(7, "123456789", 3).random(4), expected)


def test_a_stream_is_that_of_the_first_epoch_unless_named() -> None:
    np.testing.assert_array_equal(stream(0, "flip").random(4), stream(0, "flip", 0).random(4))


def test_streams_are_independent() -> None:
    one = stream(0, "order", 1).random(4).tolist()
    assert one == stream(0, "order", 1).random(4).tolist()
    others = [stream(1, "order", 1), stream(0, "flip", 1), stream(0, "order", 2)]
    assert all(other.random(4).tolist() != one for other in others)
