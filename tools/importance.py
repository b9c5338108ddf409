"""Show how the parameters of experiments affect a metric.

Takes the experiments of HEAD, as `dvc exp show` does, prints how each parameter that differs among
them correlates with the metric, and draws a chart for each. Works offline.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import dvc.api
import pandas as pd
import vl_convert
from pandas.api.types import is_integer_dtype
from scipy.stats import spearmanr

from stages.errors import InputError, exit_with_message, in_one_line
from stages.files import replace
from stages.params import TOP_LEVEL

PAGE = Path("dvc_plots/importance.html")
METRIC = "accuracy"
WRITERS = {
    ".html": lambda chart: vl_convert.vegalite_to_html(chart, bundle=True).encode(),
    ".png": lambda chart: vl_convert.vegalite_to_png(chart, scale=2),
    ".svg": lambda chart: vl_convert.vegalite_to_svg(chart).encode(),
}


def experiments(revision: str | None, metric: str) -> pd.DataFrame:
    """Return the finished experiments derived from a commit: metric and parameters, a row for each.

    Raises:
        InputError: there is no such commit, no such metric, or there are too few experiments.
    """
    try:
        table = pd.DataFrame(dvc.api.exp_show(revs=revision))
    except Exception as error:
        # Git and DVC each raise their own.
        raise InputError(f"{revision or 'HEAD'}: {in_one_line(error)}") from None
    values = table.apply(pd.to_numeric, errors="coerce") if len(table) else table
    found = [
        str(name)
        for name in values
        if values[name].notna().any() and str(name).partition(".")[0] not in TOP_LEVEL
    ]
    if metric not in found:
        raise InputError(
            f"--metric {metric}: no metric; allowed are {', '.join(found) or 'none yet'}"
        )
    # Where other experiments have it, a missing value is the text None.
    table[metric] = pd.to_numeric(table[metric], errors="coerce")
    is_done = table["State"].isna() | (table["State"] == "Success")
    done = table[is_done & (table["typ"] != "baseline") & table[metric].notna()]
    if len(done) < 2:
        raise InputError(
            f"{len(done)} finished experiments with {metric}; allowed are 2 or more: "
            "`dvc exp run --queue -S KEY=choice(...)` and `dvc queue start` make them"
        )
    parameters = [name for name in map(str, done) if name.partition(".")[0] in TOP_LEVEL]
    varied = [name for name in parameters if done[name].astype(str).nunique() > 1]
    # Beside the baseline, which may lack a value, whole numbers became fractions.
    return done[["Experiment", metric, *varied]].convert_dtypes().reset_index(drop=True)


def is_number(values: pd.Series) -> bool:
    """Say whether every value is a number."""
    return bool(pd.to_numeric(values, errors="coerce").notna().all())


def importance(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return of each parameter how many values it has, the best for a high metric, its correlation.

    The rank correlation is Spearman's, "The proof and measurement of association between two
    things", 1904: 1 where the metric grows whenever the parameter does, -1 where it falls; missing
    where values have no order or the metric is the same for all.
    """
    rows = []
    for name in table.columns[2:]:
        values = table[name]
        means = table.groupby(values.astype(str))[metric].mean()
        # With a constant metric, no correlation is defined.
        ranked = is_number(values) and table[metric].nunique() > 1
        correlation = spearmanr(values.astype(float), table[metric])[0] if ranked else None
        rows.append((name, len(means), means.idxmax(), correlation))
    columns = ["parameter", "values", f"highest mean {metric} at", "rank correlation"]
    return pd.DataFrame(rows, columns=columns).sort_values(
        "rank correlation", key=lambda values: values.astype(float).abs(), ascending=False
    )


def chart(table: pd.DataFrame, metric: str, parameters: Iterable[str]) -> dict[str, Any]:
    """Return a Vega-Lite chart with a panel for each parameter and a point for each experiment."""
    # In Vega, a dot leads into a nested object.
    names = {name: name.replace(".", " ") for name in table.columns}
    rows = table.rename(columns=names)
    numbers = {name: is_number(table[name]) for name in parameters}
    panels = [
        {
            "width": 280,
            "height": 220,
            "mark": {"type": "point", "filled": True, "size": 70},
            "encoding": {
                "x": {
                    "field": names[name],
                    "type": "quantitative" if is_numeric else "nominal",
                    "title": name,
                    "scale": {"zero": False, "padding": 10},
                    "axis": {"tickMinStep": 1} if is_integer_dtype(table[name]) else {},
                },
                "y": {
                    "field": names[metric],
                    "type": "quantitative",
                    "title": metric,
                    "scale": {"zero": False, "padding": 10},
                },
                "tooltip": [{"field": field, "type": "nominal"} for field in names.values()],
            },
        }
        for name, is_numeric in numbers.items()
    ]
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "title": f"{metric} of {len(table)} experiments",
        "data": {"values": rows.to_dict("records")},
        "concat": panels,
        "columns": 3,
    }


def main() -> None:
    """Print the table and write the page."""
    parser = argparse.ArgumentParser(prog="python -m tools importance", description=__doc__)
    parser.add_argument("revision", metavar="REV", nargs="?", help="the experiments' commit; HEAD")
    parser.add_argument("--metric", default=METRIC, help=f"{METRIC} by default")
    parser.add_argument("--out", type=Path, default=PAGE, help=f"HTML, PNG or SVG; {PAGE}")
    arguments = parser.parse_args()
    if arguments.out.suffix not in WRITERS:
        raise InputError(f"--out {arguments.out}: the name must end in {', '.join(WRITERS)}")
    table = experiments(arguments.revision, arguments.metric)
    if len(table.columns) == 2:
        raise InputError(f"{len(table)} experiments, and no parameter differs among them")
    shown = importance(table, arguments.metric)
    print(shown.to_string(index=False, na_rep="-", float_format="%.2f"))
    drawn = chart(table, arguments.metric, shown["parameter"])
    replace(arguments.out, WRITERS[arguments.out.suffix](drawn))
    print(f"{len(table)} experiments drawn in {arguments.out}")


if __name__ == "__main__":
    exit_with_message(main)
