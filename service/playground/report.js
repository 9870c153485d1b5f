/** The tuning report: the suggested α with its confidence interval, the gain of each group, and logit adjustment. */

import { byId, h, reveal, say, showError } from "./dom.js";
import { createChart, scaleMarks } from "./charts.js";
import { alphaText, counted, percent, points } from "./numbers.js";
import * as api from "./api.js";

const ROWS = [
  ["overall", "all images"], ["many", "many"], ["medium", "medium"], ["few", "few"],
  ["balanced", "mean of classes"], ["worst_class", "worst class"],
];
const OBJECTIVES = {
  overall: "share of images classified correctly", balanced: "mean recall of the classes",
  harmonic: "harmonic mean of the classes’ recall", geometric: "geometric mean of the classes’ recall",
  few: "mean recall of the group few", medium: "mean recall of the group medium", many: "mean recall of the group many",
};
const MAX_UNREADABLE_LISTED = 5;

/** A report in `place`; calls `onAlpha(alpha)` to try an α, and `onSaved(name)` when an operating point was stored. */
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
      ...dataNote(result),
      ...unreadable(result),
      actions(model, result, source, onAlpha, onSaved));
    chart = createChart(curve);
    const [low, high] = result.interval;
    const [confidentLow, confidentHigh] = result.confidence_interval ?? [low, high];
    chart.draw(axis, result.curve, {
      shades: [{ name: "sure", from: confidentLow, to: confidentHigh }, { name: "best", from: low, to: high }],
      marks: [{ alpha: result.alpha, text: `α = ${alphaText(result.alpha)}` }],
    });
    chart.moveTo(result.alpha);
    place.focus({ preventScroll: true });
    reveal(place, byId("tune-form"), "start");
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
  const confident = result.confidence_interval;
  const constraints = result.constraints?.length ? `, while ${result.constraints.map(constraintText).join(" and ")},` : "";
  const parts = [
    `Highest ${OBJECTIVES[result.objective] ?? result.objective}${constraints} on ${counted(result.images, source === "feedback" ? "label" : "image")}`,
    source === "feedback" ? " from feedback" : ` from ${source}`,
    `: anywhere from ${alphaText(low)} to ${alphaText(high)}`,
    confident ? `; 95 % confidence ${alphaText(confident[0])} to ${alphaText(confident[1])}.` : ".",
  ];
  return h("div", { class: "headline", role: "status" },
    h("p", { class: "suggested" }, h("i", { class: "alpha", text: "α" }), ` = ${alphaText(result.alpha)}`),
    h("p", { text: parts.join("") }));
}

/** `overall >= 0.7` for reading: `overall ≥ 70.0 %`. */
function constraintText(constraint) {
  const [, figure, minimum] = /^(\w+) >= ([\d.]+)$/.exec(constraint) ?? [];
  return figure ? `${figure.replace("_", " ")} ≥ ${percent(Number(minimum))}` : constraint;
}

/** A table of the figures at α = 0 and at the chosen α, the gain, logit adjustment, and the expected figures of both. */
function comparison({ alpha, before, after, gain, cross_fitted: fitted, logit_adjustment: adjustment }) {
  const columns = [
    ["α = 0", (name) => percent(before[name])],
    [`α = ${alphaText(alpha)}`, (name) => percent(after[name])],
    ["gain", (name) => points(gain?.[name] ?? null)],
  ];
  if (fitted) columns.push(["expected", (name) => percent(fitted[name])]);
  if (adjustment) {
    columns.push([`logit adj. ${alphaText(adjustment.strength)}`, (name) => percent(adjustment.after?.[name])]);
    if (adjustment.cross_fitted) columns.push(["expected", (name) => percent(adjustment.cross_fitted[name])]);
  }
  const rows = ROWS.filter(([name]) => typeof before[name] === "number" && typeof after[name] === "number");
  return h("table", { class: "comparison" },
    h("thead", {}, h("tr", {}, h("td"), ...columns.map(([text]) => h("th", { scope: "col", text })))),
    h("tbody", {}, ...rows.map(([name, text]) => h("tr", { "data-figure": name },
      h("th", { scope: "row" }, h("span", { class: `key ${name}`, "aria-hidden": "true" }), text),
      ...columns.map(([head, value]) => h("td", { class: `number${head === "gain" ? " gain" : ""}`, text: value(name) }))))));
}

function fittedNote({ cross_fitted: fitted, logit_adjustment: adjustment }) {
  const expected = fitted
    ? "Expected: α chosen on one half of the images and scored on the other, and vice versa."
    : "No expected figures: a class has too few images to choose α on one half and score it on the other.";
  return adjustment ? `${expected} Logit adj.: logit adjustment, the usual alternative, at its best strength.` : expected;
}

/** Which of an archive's pictures were used, and what was left out. */
function dataNote({ data_note: note }) {
  return note ? [h("p", { class: "note data-note", text: `Data: ${note}.` })] : [];
}

function unreadable({ unreadable: files }) {
  if (!files?.length) return [];
  const shown = files.slice(0, MAX_UNREADABLE_LISTED).map(({ name, error }) =>
    h("li", {}, h("b", { text: name }), `: ${error?.message ?? String(error)}`));
  const rest = files.length - shown.length;
  return [
    h("p", { class: "note", text: `${counted(files.length, "file")} could not be read and ${files.length === 1 ? "was" : "were"} skipped:` }),
    h("ul", { class: "unreadable" }, ...shown, rest ? h("li", { text: `and ${rest} more` }) : null),
  ];
}

function actions(model, result, source, onAlpha, onSaved) {
  const name = h("input", { type: "text", id: "point-name", value: "tuned", size: "12", autocomplete: "off", spellcheck: "false" });
  const status = h("p", { class: "note", role: "status" });
  const problem = h("div");
  const save = async (event) => {
    event.preventDefault();
    showError(problem, null);
    say(status, "");
    const constraints = result.constraints?.length ? `, ${result.constraints.join(", ")}` : "";
    const chosenBy = `best ${result.objective}${constraints}, on ${counted(result.images, "image")} from ${source}`;
    try {
      const point = { alpha: result.alpha, chosen_by: chosenBy.slice(0, 500), who: "playground" };
      await api.savePoint(model.name, name.value.trim(), point);
      say(status, `Saved. From the next request on, ${name.value.trim()} is α = ${alphaText(result.alpha)}.`);
      await onSaved(name.value.trim());
    } catch (error) {
      showError(problem, error);
    }
  };
  return h("form", { class: "form-actions", novalidate: true, onsubmit: save },
    h("button", { type: "button", id: "try-alpha", onclick: () => onAlpha(result.alpha) }, "Try this α"),
    h("label", { for: "point-name", text: "Save as operating point" }), name,
    h("button", { type: "submit", id: "save-point", class: "primary" }, "Save"), status, problem);
}

