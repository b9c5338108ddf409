"""Let DVC's page of plots work offline.

DVC's own page loads Vega from the internet. This builds a template that holds Vega itself, and
names it in DVC's local configuration; `dvc plots show` and `dvc plots diff` use it from then on.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import vl_convert
from dvc.exceptions import NotDvcRepoError
from dvc.repo import Repo

from pipeline.common.shell import UserError, one_line, run, write_atomically

# DVC takes the path in its configuration from .dvc.
TEMPLATE = Path("page.html")
# DVC puts a block for each plot in place of {plot_divs}, and a script in each that calls vegaEmbed.
PAGE, SCRIPT = (Path(__file__).with_suffix(suffix) for suffix in (".html", ".js"))


def page() -> str:
    """Return the template: Vega, Vega-Lite and Vega-Embed, and a page that wants nothing else."""
    vega = vl_convert.javascript_bundle(SCRIPT.read_text())
    # In a string, `<\\/script` means the same, and does not end the element.
    return PAGE.read_text().replace("VEGA", vega.replace("</script", "<\\/script"))


def main() -> None:
    argparse.ArgumentParser(prog="python -m tools.page", description=__doc__).parse_args()
    try:
        root = Path(Repo.find_root())
    except NotDvcRepoError as error:
        raise UserError(f"dvc.yaml: missing; {one_line(error)}") from None
    write_atomically(root / ".dvc" / TEMPLATE, page().encode())
    setting = ["config", "--local", "plots.html_template", TEMPLATE.as_posix()]
    # Where it fails, it says why.
    if subprocess.run([sys.executable, "-m", "dvc", *setting], cwd=root).returncode:
        sys.exit(2)
    print(f"dvc plots show and dvc plots diff draw offline now, with .dvc/{TEMPLATE}")


if __name__ == "__main__":
    run(main)
