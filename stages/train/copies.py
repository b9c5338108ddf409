"""Re-encoded copies of the training images, made once before the training."""

import numpy as np
import tensorflow as tf

from stages.train.randomness import stream

LOWEST_QUALITY, HIGHEST_QUALITY = 30, 95
# Images at a time, which are there twice meanwhile.
CHUNK = 1000


def with_copies(images: np.ndarray, seed: int) -> np.ndarray:
    """Return images followed by a copy of each, saved as JPEG of a random quality and read again.

    With half as many rows and columns of colours (4:2:0), which is what most programs write.

    Args:
        images: float32 (n, side, side, 3) in [0, 1].
        seed: of the random streams.

    Returns:
        float32 (2 n, side, side, 3) in [0, 1].
    """
    drawn = stream(seed, "jpeg")
    qualities = drawn.integers(
        LOWEST_QUALITY, HIGHEST_QUALITY, len(images), np.int32, endpoint=True
    )
    starts = range(0, len(images), CHUNK)
    copies = [reencoded(images[at : at + CHUNK], qualities[at : at + CHUNK]) for at in starts]
    return np.concatenate([images, *copies])


@tf.function(reduce_retracing=True)
def reencoded(images: tf.Tensor, qualities: tf.Tensor) -> tf.Tensor:
    """Return images, float32 (n, side, side, 3) in [0, 1], as JPEGs of qualities (n,) keep them."""

    def of_one(pair: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        return tf.image.adjust_jpeg_quality(*pair, dct_method="INTEGER_ACCURATE")

    return tf.map_fn(of_one, (images, qualities), fn_output_signature=tf.float32)
