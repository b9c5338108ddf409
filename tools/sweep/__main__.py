"""Try many values of parameters at once and list the best.

Each trial is an experiment of DVC, on a processor or GPU of its own. Values are named as for
`dvc exp run`; an interval is searched:

  -S 'seed=choice(0,1,2)' -S 'recipes.airbench_small.epochs=range(5,9)'
  -S 'recipes.airbench_small.optimizer.kernel_learning_rate=tag(log,interval(0.05,0.5))'

The same command goes on where it was stopped.
"""

import argparse
import importlib.util
import math
import sys

from stages.errors import InputError, exit_with_message

# Chosen by test images, a recipe would look better on them than on new ones.
METRIC = "val_accuracy"
# What the history has for each epoch.
PRUNABLE = ("val_accuracy", "val_loss")
LAST_SEED = 2**32 - 1
SEARCHES = ("grid", "random", "tpe")
PACKAGES = ("configobj", "filelock", "optuna", "psutil", "ray")


def parse() -> argparse.Namespace:
    """Return the arguments.

    Raises:
        InputError: a combination of them makes no sense.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tools sweep",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("targets", metavar="STAGE", nargs="*", help="stages to run; all")
    add(
        "-S",
        metavar="KEY=VALUES",
        dest="overrides",
        action="append",
        default=[],
        help="a parameter and its values; may be given several times",
    )
    add(
        "--search",
        choices=SEARCHES,
        help="grid: all combinations; random: some; tpe: promising ones, by the results so far; "
        "by default grid, and tpe where a parameter has an interval",
    )
    add("--trials", metavar="N", type=int, help="how many; the whole grid, else 20")
    add("--metric", default=METRIC, help=f"the metric to maximize; {METRIC}")
    add("--minimize", action="store_true", help="minimize the metric instead")
    add(
        "--prune",
        action="store_true",
        help="stop a trial whose best value is worse than the median of the others at that epoch",
    )
    add("--seed", type=int, default=0, help="of the search; 0")
    add(
        "--cpus",
        metavar="N",
        type=int,
        help="processors of each trial; 1, or an equal share for each GPU",
    )
    add("--gpus", metavar="N", type=float, help="GPUs of each trial; 1 where there are any")
    add("--address", help="of a Ray cluster, HOST:PORT or auto; by default, this machine alone")
    add(
        "--remote",
        default="origin",
        help="the Git remote that the cluster's machines reach; origin",
    )
    add(
        "--only",
        metavar="K",
        type=int,
        help="run trial K alone, from 0, without Ray, as one of a job array does",
    )
    arguments = parser.parse_args()
    if not arguments.overrides:
        parser.error("-S is missing: nothing to try")
    if arguments.prune and arguments.metric not in PRUNABLE:
        raise InputError(f"--prune --metric {arguments.metric}: allowed are {', '.join(PRUNABLE)}")
    for option in ("trials", "cpus"):
        if getattr(arguments, option) is not None and getattr(arguments, option) < 1:
            raise InputError(f"--{option} {getattr(arguments, option)}: allowed is 1 or more")
    if arguments.gpus is not None and not 0 <= arguments.gpus < math.inf:
        raise InputError(f"--gpus {arguments.gpus}: allowed is 0 or more")
    if not 0 <= arguments.seed <= LAST_SEED:
        raise InputError(f"--seed {arguments.seed}: allowed is 0 to {LAST_SEED}")
    return arguments


def main() -> None:
    """Run the sweep."""
    arguments = parse()
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"{', '.join(missing)}: not installed; pip install -e '.[sweep]' does it")
    from tools.sweep.driver import sweep

    sys.exit(sweep(arguments))


if __name__ == "__main__":
    exit_with_message(main)
