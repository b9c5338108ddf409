// Draws DVC's charts: as wide as their block, without a legend where there is one revision only,
// and as vector graphics, which stay sharp when the page is enlarged.

const predictions = new Map();
const recipes = new Map();

function draw(at, chart) {
  const revisions = [...new Set(chart.data.values.map((row) => row.rev))];
  const isFaceted = Boolean(chart.facet || chart.encoding?.column?.field);
  const header = { title: null, labels: revisions.length > 1 };
  if (chart.facet?.column) chart.facet.column.header = header;
  if (chart.encoding?.column?.field) chart.encoding.column.header = header;
  // An empty one would be a facet, which cannot be as wide as its block.
  else if (chart.encoding) delete chart.encoding.column;
  if (!isFaceted) {
    Object.assign(chart, { width: "container", autosize: { type: "fit", contains: "padding" } });
  }
  if (isFaceted && revisions.length > 1) document.querySelector(at).classList.add("several");
  const { x, y } = chart.encoding ?? {};
  if (x?.field === "epoch") x.axis = { ...x.axis, tickMinStep: 1 };
  // In the order of the table, not of the alphabet.
  if (y?.type === "nominal") y.sort = null;
  for (const layer of [chart, ...(chart.layer ?? [])]) {
    const color = layer.encoding?.color;
    if (color?.field === "rev") {
      color.legend = revisions.length > 1 ? { title: null, orient: "top" } : null;
    }
  }
  for (const row of chart.data.values) {
    if ("recipe" in row) recipes.set(row.rev, row.recipe);
    if ("predicted" in row) {
      const rows = predictions.get(row.rev) ?? predictions.set(row.rev, new Map()).get(row.rev);
      rows.set(row.index, row.actual === row.predicted);
    }
  }
  return vegaEmbed(at, chart, { renderer: "svg" });
}

// Wilson, "Probable inference", 1927, as metrics/evaluate.json has it.
function interval(right, count) {
  const z = 1.959963984540054;
  const share = right / count;
  const half = z * Math.sqrt((share * (1 - share)) / count + (z / (2 * count)) ** 2);
  const middle = share + z ** 2 / (2 * count);
  return [middle - half, middle + half].map((end) => end / (1 + z ** 2 / count));
}

// Writes the recipe and accuracy of each revision into the page's heading.
function describe() {
  const percent = (share) => `${(100 * share).toFixed(2)} %`;
  for (const [revision, rows] of predictions) {
    const right = [...rows.values()].filter(Boolean).length;
    const [low, high] = interval(right, rows.size);
    const line = document.createElement("p");
    const count = rows.size.toLocaleString("en");
    // Older results have no recipe.
    const name = [revision, recipes.get(revision)].filter(Boolean).join(", ");
    line.textContent =
      `${name}: accuracy ${percent(right / rows.size)}, 95 % interval ` +
      `${percent(low)} to ${percent(high)}, ${count} test images`;
    document.querySelector("header").append(line);
  }
}

window.vegaEmbed = draw;
window.describe = describe;
