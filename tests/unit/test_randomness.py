"""The independent random streams."""

import numpy as np

from pipeline.common.randomness import stream


def test_a_stream_is_that_of_seed_checksum_of_the_name_and_epoch() -> None:
    """0xCBF43926 is the check value that the definition of CRC-32 gives for these nine digits."""
    for given, epoch in (((3,), 3), ((), 0)):
        expected = np.random.default_rng([7, 0xCBF43926, epoch]).random(4)
        np.testing.assert_array_equal(stream(7, "123456789", *given).random(4), expected)
