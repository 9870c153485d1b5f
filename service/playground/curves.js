/** The model's accuracy against α, measured on the bundle's test data or on the labels received as feedback. */

import { byId, h, radioSwitch, say, showError } from "./dom.js";
import { createChart, figureRows } from "./charts.js";
import { counted, percent, points } from "./numbers.js";
import * as api from "./api.js";

const POINTS_PER_UNIT = 100; // as fine as the slider's steps
const SOURCES = [["bundle", "as shipped"], ["feedback", "feedback"]];
const NO_LABELS = "No labels yet. Mark a picture’s true class to start this curve.";
const LABELS = { overall: "all images", balanced: "mean of classes" };

/** The model's curve; `setModel` loads it again, and so does `setLabels` while the feedback curve is shown. */
export function createCurves() {
  const chart = createChart(byId("curve"));
  let model = null;
  let axis = null;
  let source = "bundle";
  let data = null;
  let alpha = 0;
  let labels = null; // the number of labels received; null while it is unknown
  let turn = 0;
  const choose = radioSwitch(byId("curve-source"), "curve-source", SOURCES, (value) => {
    source = value;
    load();
  });
  choose(source);

  async function load() {
    const thisTurn = ++turn;
    if (source === "feedback" && labels === 0) {
      showError(byId("curve-error"), null);
      clear(NO_LABELS);
      return;
    }
    byId("curve").setAttribute("aria-busy", "true");
    try {
      const steps = Math.round((axis.high - axis.low) * POINTS_PER_UNIT) + 1;
      const query = source === "feedback" ? { source, low: axis.low, high: axis.high, points: steps } : { source };
      const answer = await api.curve(model.name, query);
      if (thisTurn !== turn) return;
      showError(byId("curve-error"), null);
      show(answer);
    } catch (error) {
      if (thisTurn !== turn) return;
      const nothingYet = error.code === "no_curve";
      clear(nothingYet ? error.message : "");
      showError(byId("curve-error"), nothingYet ? null : error);
    } finally {
      if (thisTurn === turn) byId("curve").removeAttribute("aria-busy");
    }
  }

  function show(answer) {
    data = answer;
    chart.draw(axis, data);
    const count = answer.images ? counted(answer.images, source === "feedback" ? "label" : "image") : "";
    const origin = typeof answer.data === "string" ? `from ${answer.data}` : "";
    say(byId("curve-note"), [count, origin].filter(Boolean).join(" "));
    moveTo(alpha);
  }

  function clear(text) {
    data = null;
    chart.clear(h("p", { class: "empty", text }));
    byId("figures").tBodies[0]?.remove();
    say(byId("curve-note"), "");
  }

  function moveTo(newAlpha) {
    alpha = newAlpha;
    if (!data) return;
    chart.moveTo(alpha);
    fillFigures(byId("figures"), figureRows(data, alpha));
  }

  return {
    setModel(detail, newAxis) {
      model = detail;
      axis = newAxis;
      labels = null;
      return load();
    },
    /** Take the number of labels received. `changed` says that a label was stored, perhaps without a new count. */
    setLabels(newLabels, changed) {
      if (labels === newLabels && !changed) return;
      labels = newLabels;
      if (source === "feedback") load();
    },
    moveTo,
  };
}

/** Write the rows; make them again only if their names change. */
function fillFigures(table, rows) {
  const names = rows.map((row) => row.name).join();
  if (table.tBodies[0]?.dataset.names !== names) {
    table.tBodies[0]?.remove();
    table.append(h("tbody", { "data-names": names }, ...rows.map(({ name }) => h("tr", { "data-figure": name },
      h("th", { scope: "row" }, h("span", { class: `key ${name}`, "aria-hidden": "true" }), LABELS[name] ?? name),
      h("td", { class: "number value" }), h("td", { class: "number gain", title: "percentage points above α = 0" })))));
  }
  rows.forEach(({ value, plain }, i) => {
    const [, share, gain] = table.tBodies[0].rows[i].children;
    say(share, percent(value));
    say(gain, value === null || plain === null ? "" : points(value - plain));
  });
}
