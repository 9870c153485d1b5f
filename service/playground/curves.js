/** The model's accuracy against α: on the data it was shipped with, or on the labels that have come back. */

import { byId, h, radioSwitch, say, showError } from "./dom.js";
import { createChart, figureRows } from "./charts.js";
import { counted, percent, points } from "./numbers.js";
import * as api from "./api.js";

const POINTS_PER_UNIT = 100; // the slider's own steps
const SOURCES = [["bundle", "as shipped"], ["feedback", "feedback"]];
const NO_LABELS = "No label has come back yet. Say what a picture really shows, and the curve begins here.";
const LABELS = { overall: "all images", balanced: "mean of classes" };

/** The curve's place; it is loaded anew by `setModel` and, for feedback, by `refresh`. */
export function createCurves() {
  const chart = createChart(byId("curve"));
  let model = null;
  let axis = null;
  let source = "bundle";
  let data = null;
  let alpha = 0;
  let labels = null; // how many have come back; null where nobody has said
  let turn = 0;
  const choose = radioSwitch(byId("curve-source"), "curve-source", SOURCES, (value) => {
    source = value;
    load();
  });
  choose(source);

  async function load() {
    const mine = ++turn;
    if (source === "feedback" && labels === 0) {
      showError(byId("curve-error"), null);
      clear(NO_LABELS);
      return;
    }
    byId("curve").setAttribute("aria-busy", "true");
    try {
      const steps = Math.round((axis.high - axis.low) * POINTS_PER_UNIT) + 1;
      const query = { source, low: axis.low, high: axis.high, points: steps };
      const answer = await api.curve(model.name, query);
      if (mine !== turn) return;
      showError(byId("curve-error"), null);
      show(answer);
    } catch (error) {
      if (mine !== turn) return;
      const nothingYet = error.code === "no_curve";
      clear(nothingYet ? error.message : "");
      showError(byId("curve-error"), nothingYet ? null : error);
    } finally {
      if (mine === turn) byId("curve").removeAttribute("aria-busy");
    }
  }

  function show(answer) {
    data = answer;
    chart.draw(axis, data);
    const what = answer.images ? counted(answer.images, source === "feedback" ? "label" : "image") : "";
    const of = typeof answer.data === "string" ? `of ${answer.data}` : "";
    say(byId("curve-note"), [what, of].filter(Boolean).join(" "));
    moveTo(alpha);
  }

  function clear(words) {
    data = null;
    chart.clear(h("p", { class: "empty", text: words }));
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
    /** So many labels have come back; one may have been corrected, which changes no count. */
    setLabels(count, changed) {
      if (labels === count && !changed) return;
      labels = count;
      if (source === "feedback") load();
    },
    moveTo,
  };
}

/** Write the rows; they are made only when there are others than before. */
function fillFigures(table, rows) {
  const names = rows.map((row) => row.name).join();
  if (table.tBodies[0]?.dataset.names !== names) {
    table.tBodies[0]?.remove();
    table.append(h("tbody", { "data-names": names }, ...rows.map(({ name }) => h("tr", { "data-figure": name },
      h("th", { scope: "row" }, h("span", { class: `key ${name}`, "aria-hidden": "true" }), LABELS[name] ?? name),
      h("td", { class: "number value" }), h("td", { class: "number gain", title: "points against α = 0" })))));
  }
  rows.forEach(({ value, plain }, i) => {
    const [, share, gain] = table.tBodies[0].rows[i].children;
    say(share, percent(value));
    say(gain, value === null || plain === null ? "" : points(value - plain));
  });
}
