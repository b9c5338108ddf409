"""Prints what `mutmut run` found, by folder: python -m tests.mutation_score.

A mutant that no test can tell from the program is no gap. Such are listed in
tests/equivalent_mutants.txt, below the reason why; "…" stands for anything.
"""

import re
import sys
from collections import Counter
from pathlib import Path

from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files

EQUIVALENT = Path("tests/equivalent_mutants.txt")
GOAL = 0.9
# An endless loop and a crash are seen, too.
CAUGHT = ("killed", "timeout", "segfault")
# pytest did not find the tests, which mutmut takes for an endless loop. It does not when their
# names hold a backslash, which is escaped anew with each collection.
NO_SUCH_TEST = 255
COLUMNS = ("caught", "survived", "equivalent")


def described(name: str, path: Path) -> str:
    """Return a mutant on one line: its function, the lines that it replaces, and by what."""
    _, _, *lines = get_diff_for_mutant(name, path=path).splitlines()
    old, new = (
        " ".join(" ".join(line[1:] for line in lines if line.startswith(sign)).split())
        for sign in "-+"
    )
    function = name.rpartition("__mutmut_")[0].replace(".xǁ", ".").replace(".x_", ".")
    return f"{function.replace('ǁ', '.')}: {old} → {new}"


def equivalents() -> re.Pattern[str]:
    """Return the pattern of all mutants that are listed as equivalent."""
    lines = EQUIVALENT.read_text(encoding="utf-8").splitlines()
    entries = [line.strip() for line in lines if line.startswith(" ")]
    return re.compile("|".join(re.escape(entry).replace("…", ".*") for entry in entries) or "(?!)")


def main() -> None:
    """Print the survivors and the score of each folder; fail where one is below the goal."""
    equivalent = equivalents()
    counts: dict[str, Counter[str]] = {}
    for path in sorted(map(Path, walk_mutatable_files())):
        mutants = SourceFileMutationData(path=path)
        mutants.load()
        for name, exit_code in mutants.exit_code_by_key.items():
            status = status_by_exit_code[exit_code]
            if status == "not checked":
                continue
            outcome = "caught"
            if status not in CAUGHT or exit_code == NO_SUCH_TEST:
                mutant = described(name, path)
                outcome = "equivalent" if equivalent.fullmatch(mutant) else "survived"
                if outcome == "survived":
                    print(f"{status}: {mutant}")
            counts.setdefault(str(path.parent), Counter())[outcome] += 1

    print(f"\n{'folder':20}{''.join(f'{column:>12}' for column in COLUMNS)}{'score':>8}")
    scores = []
    for folder, count in counts.items():
        scores.append(count["caught"] / max(count["caught"] + count["survived"], 1))
        numbers = "".join(f"{count[column]:12}" for column in COLUMNS)
        print(f"{folder:20}{numbers}{scores[-1]:8.1%}")
    if min(scores, default=0) < GOAL:
        sys.exit(f"a folder is below {GOAL:.0%}")


if __name__ == "__main__":
    main()
