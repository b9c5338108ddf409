"""Refuses what the stages after train would refuse, before train spends its minutes.

No output of train depends on their parameters, so dvc.yaml does not list them for it.
"""

from stages.evaluate.params import EvaluateParams
from stages.params import read
from stages.plots.params import PlotsParams


def check_later_stages() -> None:
    """Raise an InputError where a parameter of a later stage is missing or not allowed."""
    read("evaluate", EvaluateParams)
    read("plots", PlotsParams)
