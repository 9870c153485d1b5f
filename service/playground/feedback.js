/** Feedback: a form that sends a picture's true class, and a summary of the labels received. */

import { byId, h, say, showError } from "./dom.js";
import { alphaText, counted, percent } from "./numbers.js";
import * as api from "./api.js";

const MAX_OPTIONS = 200;

/**
 * The feedback form and summary. Calls `onKept(result id, answer)` when the server has stored a label, and
 * `onCount(labels, changed)` with the number of labels.
 */
export function createFeedback(onKept, onCount) {
  const list = byId("class-list");
  const filter = byId("class-filter");
  const button = byId("send-feedback");
  let model = null;
  let result = null;
  let turn = 0;

  function options() {
    const wanted = filter.value.trim().toLowerCase();
    const found = model.classes.flatMap(({ name, group }, index) =>
      (group === wanted || name.toLowerCase().includes(wanted) ? [[name, group, index]] : []));
    const shown = found.slice(0, MAX_OPTIONS).map(([name, group, index]) =>
      h("option", { value: index, text: `${name} (${group})` }));
    if (found.length > shown.length) {
      shown.push(h("option", { disabled: true, text: `${found.length - shown.length} more; filter to see them` }));
    }
    if (!found.length) shown.push(h("option", { disabled: true, text: "no class matches" }));
    list.replaceChildren(...shown);
    if (found.length === 1) list.value = String(found[0][2]);
    ready();
  }

  function ready() {
    button.disabled = !result || list.value === "";
  }

  /** Send `index` as the true class of the picture on show; errors appear in `place`. */
  async function send(index, place) {
    if (!result) return;
    const labelled = result;
    showError(place, null);
    try {
      const answer = await api.sendFeedback(labelled.id, index);
      onKept(labelled.id, answer);
      await refresh(true);
    } catch (error) {
      if (labelled === result) showError(place, error);
    }
  }

  /** Fetch the summary again. */
  async function refresh(changed = false) {
    const thisTurn = ++turn;
    try {
      const summary = await api.feedbackOf(model.name);
      if (thisTurn !== turn) return;
      showError(byId("counts-error"), null);
      byId("counts").replaceChildren(...summaryParts(summary));
      onCount(summary.labels, changed);
    } catch (error) {
      if (thisTurn !== turn) return;
      byId("counts").replaceChildren();
      showError(byId("counts-error"), error);
    }
  }

  filter.addEventListener("input", options);
  list.addEventListener("change", ready);
  list.addEventListener("dblclick", () => byId("feedback-form").requestSubmit());
  byId("feedback-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!button.disabled) send(Number(list.value), byId("class-error"));
  });
  return {
    send: (index) => send(index, byId("feedback-error")),
    setModel(detail) {
      model = detail;
      filter.value = "";
      options();
      return refresh();
    },
    setResult(newResult) {
      result = newResult;
      showError(byId("feedback-error"), null);
      showError(byId("class-error"), null);
      say(byId("given"), "");
      ready();
    },
    refresh,
  };
}

function summaryParts(summary) {
  if (!summary.labels) return [h("p", { class: "empty", text: "No labels for this model yet." })];
  const groups = Object.entries(summary.by_group ?? {}).map(([group, count]) => `${count} ${group}`);
  const facts = [["Labels", `${summary.labels.toLocaleString("en")}${groups.length ? ` (${groups.join(", ")})` : ""}`]];
  if (summary.optimum) {
    const [low, high] = summary.optimum.interval ?? [null, null];
    facts.push([`Best α for the last ${counted(summary.last, "label")}`, `${alphaText(summary.optimum.alpha)}, from ${alphaText(low ?? -Infinity)} to ${alphaText(high ?? Infinity)}`]);
  }
  if (summary.in_force) facts.push(["In force", `${summary.in_force.name} ${alphaText(summary.in_force.alpha)}`]);
  if (typeof summary.drift === "number") facts.push(["Drift (best α − α in force)", alphaText(summary.drift)]);
  const predicted = summary.predictions;
  if (predicted?.images) {
    const shares = ["many", "medium", "few"].filter((group) => typeof predicted[group] === "number");
    const text = shares.map((group) => `${percent(predicted[group])} ${group}`).join(", ");
    facts.push([`Predictions for ${counted(predicted.images, "picture")}, at the requested α`, text]);
  }
  return [h("dl", {}, ...facts.flatMap(([term, text]) => [h("dt", { text: term }), h("dd", { text })]))];
}
