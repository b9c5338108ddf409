"""Plants mistakes in the program, one at a time, and counts those that tests/unit sees.

python -m tests.mutation_score, or `make mutants`. Numbers grow by one, and logic and arithmetic
turn around; texts stay, since no test should repeat them. Some mistakes change nothing that anyone
could see, so not all can be found. A test that starts Python does so in the project's folder, where
mutmut finds its settings.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import libcst as cst
from mutmut.__main__ import cli
from mutmut.mutation import mutators
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files

# Of these, what they say changes no result.
FLAGS = {"exist_ok", "flush", "ignore_errors", "include_url", "leave", "missing_ok", "parents"}
FLAGS |= {"allow_pickle", "sorted", "strict"}


def turned(argument: cst.Arg) -> Iterator[cst.Arg]:
    """Yield an argument that is True or False as the other one."""
    if isinstance(argument.value, cst.Name) and argument.keyword:
        other = {"True": "False", "False": "True"}.get(argument.value.value)
        if other and argument.keyword.value not in FLAGS:
            yield argument.with_changes(value=cst.Name(other))


KINDS = {
    mutators.operator_number,
    mutators.operator_swap_op,
    mutators.operator_keywords,
    mutators.operator_remove_unary_ops,
    mutators.operator_augmented_assignment,
    mutators.operator_match,
    mutators.operator_if_exp,
}
mutators.mutation_operators[:] = [  # type: ignore[index]
    *(operator for operator in mutators.mutation_operators if operator[1] in KINDS),
    (cst.Arg, turned),
]
GOAL = 0.95
# An endless loop and a crash are seen, too.
OUTCOMES = dict.fromkeys(("killed", "timeout", "segfault"), "seen")
# What no unit test calls is for the tests of whole commands to see.
OUTCOMES |= dict.fromkeys(("no tests", "not checked"), "left out")
# pytest did not find the tests, which mutmut takes for an endless loop. It does not when their
# names hold a backslash, which is escaped anew with each collection.
NO_SUCH_TEST = 255


def main() -> None:
    """Run all mutants, print those that no test sees and each file's score; fail below the goal."""
    cli(["run", "--max-children", "2", *sys.argv[1:]], standalone_mode=False)
    counts: dict[str, Counter[str]] = {}
    for path in sorted(map(Path, walk_mutatable_files())):
        mutants = SourceFileMutationData(path=path)
        mutants.load()
        count = counts.setdefault(str(path), Counter())
        for name, exit_code in mutants.exit_code_by_key.items():
            status = "not found" if exit_code == NO_SUCH_TEST else status_by_exit_code[exit_code]
            outcome = OUTCOMES.get(status, "unseen")
            count[outcome] += 1
            if outcome == "unseen":
                print(f"\n{status}: {get_diff_for_mutant(name, path=path)}")
    counts["all"] = sum(counts.values(), Counter[str]())
    for file, count in counts.items():
        score = count["seen"] / max(count["seen"] + count["unseen"], 1)
        numbers = "".join(f"{count[name]:6} {name}" for name in ("seen", "unseen", "left out"))
        print(f"{file:40}{numbers}{score:8.1%}")
    if score < GOAL:
        sys.exit(f"fewer than {GOAL:.0%} are seen")


if __name__ == "__main__":
    main()
