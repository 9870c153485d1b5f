/** The model's accuracy against α: on the data it was shipped with, or on the labels that have come back. */

import { byId, h, radioSwitch, say, showError } from "./dom.js";
import { createChart, figureRows } from "./charts.js";
import { alphaText, counted, percent, points } from "./numbers.js";
import * as api from "./api.js";

const POINTS_PER_UNIT = 100; // the slider's own steps
const SOURCES = [["bundle", "as shipped"], ["feedback", "feedback"]];
const LABELS = { overall: "all images", balanced: "mean of classes" };

/** The curve's place; it is loaded anew by `setModel` and, for feedback, by `refresh`. */
export function createCurves() {
  const chart = createChart(byId("curve"));
  let model = null;
  let axis = null;
  let source = "bundle";
  let data = null;
  let alpha = 0;
  let turn = 0;
  const choose = radioSwitch(byId("curve-source"), "curve-source", SOURCES, (value) => {
    source = value;
    load();
  });
  choose(source);

  async function load() {
    const mine = ++turn;
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
      clear("");
      showError(byId("curve-error"), error);
    } finally {
      if (mine === turn) byId("curve").removeAttribute("aria-busy");
    }
  }

  function show(answer) {
    const images = answer.labels ?? answer.images ?? 0;
    if (!answer.alphas?.length || !answer.figures?.overall?.length) {
      clear(source === "feedback"
        ? "No label has come back yet. Say below what a picture really shows, and the curve begins."
        : "This bundle brought no curve.");
      return;
    }
    data = answer;
    chart.draw(axis, data);
    const best = answer.optimum;
    const what = source === "feedback" ? counted(images, "label") : images ? counted(images, "test image") : "";
    say(byId("curve-note"), [what, best ? `best balanced α ${alphaText(best.alpha)}` : ""].filter(Boolean).join("; "));
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
      return load();
    },
    refresh: () => (source === "feedback" ? load() : undefined),
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
