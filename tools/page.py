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

from stages.errors import InputError, exit_with_message, in_one_line
from stages.files import replace

# DVC takes the path in its configuration from .dvc.
TEMPLATE = Path("tmp/page.html")
# As vector graphics, which stay sharp when the page is enlarged.
DRAW = "window.vegaEmbed = (at, chart) => vegaEmbed(at, chart, {renderer: 'svg'});"
# DVC puts a block for each plot in place of {plot_divs}, and a script in each that calls vegaEmbed.
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
{refresh_tag}
<title>CIFAR-10: plots</title>
<style>
  body { font-family: sans-serif; margin: 2rem auto; max-width: 80rem; color: #222;
         display: flex; flex-wrap: wrap; gap: 2rem; align-items: flex-start; }
  body > div { border: 1px solid #ddd !important; border-radius: 4px; padding: 1rem; }
  body > div:has(img) { flex-basis: 100%; box-sizing: border-box;
                        display: flex; flex-wrap: wrap; justify-content: center; }
  body > div > p { flex-basis: 100%; font-weight: bold; }
  body > div > div { border: none !important; flex: 1 1 24rem; min-width: 0; }
  img { max-width: 100%; height: auto; }
</style>
<script>VEGA</script>
</head>
<body>
{plot_divs}
</body>
</html>
"""


def page() -> str:
    """Return the template: Vega, Vega-Lite and Vega-Embed, and a page that wants nothing else."""
    vega = vl_convert.javascript_bundle(DRAW)
    # In a string, `<\\/script` means the same, and does not end the element.
    return PAGE.replace("VEGA", vega.replace("</script", "<\\/script"))


def main() -> None:
    """Write the template and tell DVC of it."""
    argparse.ArgumentParser(prog="python -m tools page", description=__doc__).parse_args()
    try:
        root = Path(Repo.find_root())
    except NotDvcRepoError as error:
        raise InputError(f"dvc.yaml: missing; {in_one_line(error)}") from None
    replace(root / ".dvc" / TEMPLATE, page().encode())
    setting = ["config", "--local", "plots.html_template", TEMPLATE.as_posix()]
    # Where it fails, it says why.
    if subprocess.run([sys.executable, "-m", "dvc", *setting], cwd=root).returncode:
        sys.exit(2)
    print(f"dvc plots show and dvc plots diff draw offline now, with .dvc/{TEMPLATE}")


if __name__ == "__main__":
    exit_with_message(main)
