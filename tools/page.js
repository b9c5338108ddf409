// Draws DVC's charts: as wide as their block, without a legend where there is one revision only,
// and as vector graphics, which stay sharp when the page is enlarged and take its colours.

const predictions = new Map();
const recipes = new Map();
const config = {
  axis: { labelOverlap: true },
  legend: { titleOrient: "left", layout: { top: { direction: "vertical" } } },
};

function draw(at, chart) {
  const { values } = chart.data;
  const revisions = [...new Set(values.map((row) => row.rev))];
  // Side by side, as DVC has them, charts of several revisions are too wide for a narrow window. Each
  // gets a block of its own here, which the page puts where there is room.
  const { column = chart.encoding?.column, row } = chart.facet ?? {};
  const isSplit = column?.field === "rev" && !row?.field;
  if (isSplit && chart.facet) {
    Object.assign(chart, chart.spec, { facet: undefined, spec: undefined });
  }
  const encoding = chart.encoding ?? {};
  // An empty one would be a facet, which cannot be as wide as its block.
  if (isSplit || !column?.field) delete encoding.column;
  const { x, y } = encoding;
  const names = new Set(values.map((row) => row[y?.field]));
  let height = 320;
  if (x?.field === "epoch") x.axis = { ...x.axis, tickMinStep: 1 };
  if (chart.mark?.type === "bar" && y?.type === "nominal") {
    // In the order of the table, not of the alphabet.
    y.sort = null;
    x.scale = { domainMin: 0, domainMax: 1.15 * Math.max(...values.map((row) => row[x.field])) };
    const text = { field: x.field, type: "quantitative", format: ".3f" };
    const mark = { type: "text", align: "left", dx: 3, fontSize: 10 };
    const color = { value: "currentColor" };
    chart.layer = [{ mark: chart.mark }, { mark, encoding: { text, color } }];
    // Zoomed, bars would end at the axes, and their values would not.
    delete chart.params;
    delete chart.mark;
    height = Math.max(height, 100 + 14 * names.size * revisions.length);
  }
  const cells = chart.layer?.at(-1);
  // DVC's confusion matrix ends with texts that say nothing. Those of more classes would not fit.
  if (cells?.mark === "text" && names.size <= 20) {
    const percent = "round(100 * datum.percent_of_y) || ''";
    chart.transform.push({ calculate: percent, as: "percent" });
    cells.encoding.text = { field: "percent", type: "nominal" };
    cells.mark = { type: "text", fontSize: 9 };
    chart.layer[0].encoding.color.legend = null;
    chart.title.text += " (%)";
  }
  for (const layer of [chart, ...(chart.layer ?? [])]) {
    const color = layer.encoding?.color;
    if (color?.field === "rev") {
      color.legend = revisions.length > 1 ? { title: null, orient: "top", columns: 2 } : null;
    }
  }
  for (const row of values) {
    if ("recipe" in row) recipes.set(row.rev, row.recipe);
    if ("predicted" in row) {
      const rows = predictions.get(row.rev) ?? predictions.set(row.rev, new Map()).get(row.rev);
      rows.set(row.index, row);
    }
  }
  if (!chart.facet && !encoding.column) {
    const autosize = { type: "fit", contains: "padding" };
    Object.assign(chart, { width: "container", height, autosize });
    for (const layer of chart.layer ?? []) delete layer.width, delete layer.height;
  }
  const plot = document.querySelector(at);
  const parts = isSplit && revisions.length > 1 ? revisions : [undefined];
  plot.classList.toggle("several", parts.length > 1);
  for (const revision of parts) {
    // Clear of the menu's button, which is at the right.
    const place = { anchor: "start", frame: "bounds", offset: 8 };
    const title = { ...chart.title, ...place, subtitle: revision };
    const data = { values: values.filter((row) => !revision || row.rev === revision) };
    const block = plot.appendChild(document.createElement("div"));
    vegaEmbed(block, { ...chart, data, title }, { renderer: "svg", config });
  }
}

// Wilson, "Probable inference", 1927, as metrics/evaluate.json has it.
function interval(right, count) {
  const z = 1.959963984540054;
  const share = right / count;
  const half = z * Math.sqrt((share * (1 - share)) / count + (z / (2 * count)) ** 2);
  const middle = share + z ** 2 / (2 * count);
  return [middle - half, middle + half].map((end) => end / (1 + z ** 2 / count));
}

// Returns the name, precision, recall, F1 and number of images of each class.
function scores(rows) {
  const names = [...new Set(rows.flatMap((row) => [row.actual, row.predicted]))].sort();
  return names.map((name) => {
    const actual = rows.filter((row) => row.actual === name);
    const right = actual.filter((row) => row.predicted === name).length;
    const predicted = rows.filter((row) => row.predicted === name).length;
    const f1 = (2 * right) / (actual.length + predicted);
    return [name, right / predicted || 0, right / actual.length || 0, f1, actual.length];
  });
}

// Writes the recipe and accuracy of each revision into the page's heading, and a table below it.
function describe() {
  const percent = (share) => `${(100 * share).toFixed(2)} %`;
  const header = document.querySelector("header");
  const tables = [];
  for (const [revision, found] of predictions) {
    const rows = [...found.values()];
    const right = rows.filter((row) => row.actual === row.predicted).length;
    const [low, high] = interval(right, rows.length);
    const line = document.createElement("p");
    const count = rows.length.toLocaleString("en");
    // Older results have no recipe.
    const name = [revision, recipes.get(revision)].filter(Boolean).join(", ");
    line.textContent =
      `${name}: accuracy ${percent(right / rows.length)}, 95 % interval ` +
      `${percent(low)} to ${percent(high)}, ${count} test images`;
    header.append(line);
    const block = document.createElement("div");
    const table = block.appendChild(document.createElement("table"));
    table.className = "scores";
    const caption = table.createCaption();
    caption.textContent = predictions.size > 1 ? revision : "Test images";
    let lines = scores(rows);
    if (lines.length > 20) {
      lines = lines.sort((a, b) => a[3] - b[3]).slice(0, 20);
      caption.textContent += ", the 20 classes with the lowest F1";
    }
    for (const cells of [["Class", "Precision", "Recall", "F1", "n"], ...lines]) {
      const line = table.insertRow();
      for (const [i, cell] of cells.entries()) {
        line.insertCell().textContent = i % 4 && cell.toFixed ? cell.toFixed(3) : cell;
      }
    }
    tables.push(block);
  }
  header.after(...tables);
}

window.vegaEmbed = draw;
window.describe = describe;
