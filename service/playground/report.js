/** What tuning found: the suggested α and how sure it is, what each group gains, and the rival beside it. */

import { h, say, showError } from "./dom.js";
import { createChart, scaleMarks } from "./charts.js";
import { alphaText, counted, percent, points } from "./numbers.js";
import * as api from "./api.js";

const ROWS = [
  ["overall", "all images"], ["many", "many"], ["medium", "medium"], ["few", "few"],
  ["balanced", "mean of classes"], ["worst_class", "worst class"],
];
const OBJECTIVES = {
  overall: "share of images that are right", balanced: "mean recall of the classes",
  harmonic: "harmonic mean of the classes’ recall", geometric: "geometric mean of the classes’ recall",
  few: "mean recall of few", medium: "mean recall of medium", many: "mean recall of many", worst_class: "recall of the worst class",
};
const MOST_UNREADABLE = 5;

/** The report's place; `onAlpha(alpha)` to try one, `onSaved(name)` when a point was stored. */
export function createReport(place, onAlpha, onSaved) {
  let chart = null;

  function show(model, pageAxis, result, source) {
    const curve = h("div", { class: "curve" });
    const { alphas } = result.curve;
    const axis = {
      low: Math.min(pageAxis.low, Math.floor(alphas[0])), high: Math.max(pageAxis.high, Math.ceil(alphas[alphas.length - 1])),
    };
    const scale = h("div", { class: "scale", "aria-hidden": "true" }, ...scaleMarks(axis));
    place.replaceChildren(
      headline(result, source),
      h("div", { class: "report-chart" }, curve, scale),
      h("div", { class: "wide-table", tabindex: "0", role: "region", "aria-label": "Before and after" }, comparison(result)),
      h("p", { class: "note", text: fittedNote(result) }),
      ...unreadable(result),
      actions(model, result, source, onAlpha, onSaved));
    chart = createChart(curve);
    const [low, high] = result.interval;
    const [sureLow, sureHigh] = result.confidence_interval ?? [low, high];
    chart.draw(axis, result.curve, {
      shades: [{ name: "sure", from: sureLow, to: sureHigh }, { name: "best", from: low, to: high }],
      marks: [{ alpha: result.alpha, text: `α = ${alphaText(result.alpha)}` }],
    });
    chart.moveTo(result.alpha);
    place.focus({ preventScroll: true });
  }

  return {
    show,
    clear() {
      chart = null;
      place.replaceChildren();
    },
    moveTo: (alpha) => chart?.moveTo(alpha),
  };
}

function headline(result, source) {
  const [low, high] = result.interval;
  const sure = result.confidence_interval;
  const rules = result.constraints?.length ? `, while ${result.constraints.map(ruleWords).join(" and ")},` : "";
  const words = [
    `Highest ${OBJECTIVES[result.objective] ?? result.objective}${rules} on ${counted(result.images, source === "feedback" ? "label" : "image")}`,
    source === "feedback" ? " of feedback" : ` of ${source}`,
    `: anywhere from ${alphaText(low)} to ${alphaText(high)}`,
    sure ? `; 95 % confidence ${alphaText(sure[0])} to ${alphaText(sure[1])}.` : ".",
  ];
  return h("div", { class: "headline", role: "status" },
    h("p", { class: "suggested" }, h("i", { class: "alpha", text: "α" }), ` = ${alphaText(result.alpha)}`),
    h("p", { text: words.join("") }));
}

/** `overall >= 0.7` as people write it. */
function ruleWords(rule) {
  const [, figure, least] = /^(\w+) >= ([\d.]+)$/.exec(rule) ?? [];
  return figure ? `${figure.replace("_", " ")} ≥ ${percent(Number(least))}` : rule;
}

/** Figures at α = 0, at the chosen α and what was gained; logit adjustment beside it; what to expect of both. */
function comparison({ alpha, before, after, gain, cross_fitted: fitted, logit_adjustment: rival }) {
  const columns = [
    ["α = 0", (name) => percent(before[name])],
    [`α = ${alphaText(alpha)}`, (name) => percent(after[name])],
    ["gain", (name) => points(gain?.[name] ?? null)],
  ];
  if (fitted) columns.push(["expected", (name) => percent(fitted[name])]);
  if (rival) {
    columns.push([`logit adj. ${alphaText(rival.strength)}`, (name) => percent(rival.after?.[name])]);
    if (rival.cross_fitted) columns.push(["expected", (name) => percent(rival.cross_fitted[name])]);
  }
  const known = ROWS.filter(([name]) => typeof before[name] === "number" && typeof after[name] === "number");
  return h("table", { class: "comparison" },
    h("thead", {}, h("tr", {}, h("td"), ...columns.map(([text]) => h("th", { scope: "col", text })))),
    h("tbody", {}, ...known.map(([name, text]) => h("tr", { "data-figure": name },
      h("th", { scope: "row" }, h("span", { class: `key ${name}`, "aria-hidden": "true" }), text),
      ...columns.map(([head, value]) => h("td", { class: `number${head === "gain" ? " gain" : ""}`, text: value(name) }))))));
}

function fittedNote({ cross_fitted: fitted, logit_adjustment: rival }) {
  const expected = fitted
    ? "Expected: chosen on one half of the images and scored on the other, both ways."
    : "Too few images in a class to choose on one half and score on the other.";
  return rival ? `${expected} Logit adjustment, the rival, at its own best strength.` : expected;
}

function unreadable({ unreadable: files }) {
  if (!files?.length) return [];
  const shown = files.slice(0, MOST_UNREADABLE).map(({ name, error }) =>
    h("li", {}, h("b", { text: name }), `: ${error?.message ?? String(error)}`));
  const rest = files.length - shown.length;
  return [
    h("p", { class: "note", text: `${counted(files.length, "file")} could not be read and ${files.length === 1 ? "was" : "were"} left out:` }),
    h("ul", { class: "unreadable" }, ...shown, rest ? h("li", { text: `and ${rest} more` }) : null),
  ];
}

function actions(model, result, source, onAlpha, onSaved) {
  const name = h("input", { type: "text", id: "point-name", value: "tuned", size: "12", autocomplete: "off", spellcheck: "false" });
  const said = h("p", { class: "note", role: "status" });
  const problem = h("div");
  const save = async (event) => {
    event.preventDefault();
    showError(problem, null);
    say(said, "");
    const rules = result.constraints?.length ? `, ${result.constraints.join(", ")}` : "";
    const chosenBy = `best ${result.objective}${rules}, on ${counted(result.images, "image")} of ${source}`;
    try {
      const kept = { alpha: result.alpha, chosen_by: chosenBy.slice(0, 500), who: "playground" };
      await api.savePoint(model.name, name.value.trim(), kept);
      say(said, `Saved. ${name.value.trim()} is α = ${alphaText(result.alpha)} from the next request on.`);
      await onSaved(name.value.trim());
    } catch (error) {
      showError(problem, error);
    }
  };
  return h("form", { class: "form-actions", novalidate: true, onsubmit: save },
    h("button", { type: "button", id: "try-alpha", onclick: () => onAlpha(result.alpha) }, "Try this α"),
    h("label", { for: "point-name", text: "Save as operating point" }), name,
    h("button", { type: "submit", id: "save-point", class: "primary" }, "Save"), said, problem);
}

