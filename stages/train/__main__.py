"""Trains the selected recipe, on the training images; the test images are never read."""

from stages import arrays
from stages.errors import exit_with_message
from stages.params import Device, Devices, Precision, read
from stages.train.later import check_later_stages
from stages.train.params import RecipeName, Seed, check_validation, read_recipe


def main() -> None:
    seed = read("seed", Seed)
    wanted, devices = read("device", Device), read("devices", Devices)
    precision = read("precision", Precision)
    name, recipe = read("recipe", RecipeName), read_recipe()
    check_later_stages()
    training, validation = arrays.load("train"), arrays.load("validation")
    check_validation(recipe, len(validation[1]))

    # TensorFlow takes seconds to start; what is wrong with the above is told before.
    from stages.train.run import run

    run(name, recipe, seed, wanted, training, validation, precision, devices)


if __name__ == "__main__":
    exit_with_message(main, __doc__)
