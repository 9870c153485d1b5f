/** The class frequencies that the answer assumes: those of training, equal ones, or weights typed by the user. */

import { byId, groupMark, h, radioSwitch, say, showError } from "./dom.js";
import { parseNumber, percent } from "./numbers.js";
import { priorShift } from "./arithmetic.js";

const CHOSEN_WITHOUT = " The curve and the operating points do not include a prior: start from α = 0.";
const MAX_ROWS = 60;
const CHOICES = [["train", "As trained"], ["uniform", "Uniform"], ["custom", "Custom"]];
const NOTES = {
  train: "Classes are expected as often as in training; the logits stay unchanged.",
  uniform: "All classes are expected equally often: log 1/C − log p_train is added to each logit at every α." + CHOSEN_WITHOUT,
  custom: "Classes are expected in these proportions: log p_target − log p_train is added to each logit at every α." + CHOSEN_WITHOUT,
};

/** (C,) a prior's addition to the logits; null if it adds nothing. */
export function shiftOf(prior, classes) {
  if (prior.kind === "train") return null;
  const weights = prior.kind === "uniform" ? classes.map(() => 1) : prior.weights;
  return priorShift(weights, classes.map((one) => one.training_count));
}

/** The equivalent value of the query parameter `prior`; null if none is needed. */
export function priorQuery(prior, classes) {
  if (prior.kind === "train") return null;
  if (prior.kind === "uniform" || prior.weights.every((weight) => weight === prior.weights[0])) return "uniform";
  return JSON.stringify(Object.fromEntries(classes.map((one, i) => [one.name, prior.weights[i]])));
}

/** The choice of a prior and the editor of its weights; calls `onPrior(prior)` for every valid change. */
export function createPrior(onPrior) {
  let classes = [];
  let prior = { kind: "train", weights: null };
  const choose = radioSwitch(byId("prior"), "prior", CHOICES, (kind) => {
    change({ kind, weights: kind === "custom" ? prior.weights ?? classes.map(() => 1) : prior.weights });
    if (kind === "custom") editor.open();
  });
  const editor = createEditor((weights) => change({ kind: "custom", weights }));

  function change(next) {
    prior = next;
    choose(prior.kind);
    say(byId("prior-note"), NOTES[prior.kind]);
    byId("prior-editor").hidden = prior.kind !== "custom";
    onPrior(prior);
  }

  /** Show a model's classes with a prior, for example one from the address. */
  function setModel(detail, wanted) {
    classes = detail.classes;
    const unseen = classes.find((one) => one.training_count < 1);
    for (const input of byId("prior").querySelectorAll("input")) {
      input.disabled = Boolean(unseen) && input.value !== "train";
    }
    editor.setModel(classes, wanted.weights ?? classes.map(() => 1));
    prior = unseen ? { kind: "train", weights: null } : wanted;
    choose(prior.kind);
    const whyDisabled = `The class ${unseen?.name} has no training images, so this model has no training prior to replace.`;
    say(byId("prior-note"), unseen ? whyDisabled : NOTES[prior.kind]);
    byId("prior-editor").hidden = prior.kind !== "custom";
    return prior;
  }

  return { setModel };
}

function createEditor(onWeights) {
  let classes = [];
  let weights = [];
  let rows = [];
  const filter = h("input", { type: "search", id: "prior-filter", placeholder: "name or group", autocomplete: "off" });
  const listedWeight = h("input", { type: "text", inputmode: "decimal", id: "prior-all", value: "1", size: "6" });
  const table = h("tbody");
  const more = h("p", { class: "note", role: "status" });
  const problem = h("div");

  function changed(message) {
    showError(problem, message ? new Error(message) : null);
    if (!message) onWeights([...weights]);
    shares();
  }

  function setWeight(index, text, input) {
    const weight = parseNumber(text);
    const fits = weight !== null && weight > 0 && weight < 1e12 && weight > 1e-12;
    input?.setAttribute("aria-invalid", String(!fits));
    if (fits) weights[index] = weight;
    return fits ? null : `The weight of ${classes[index].name} is “${text}”; enter a number above 0.`;
  }

  function matching() {
    const wanted = filter.value.trim().toLowerCase();
    const fits = ({ name, group }) => group === wanted || name.toLowerCase().includes(wanted);
    return classes.flatMap((one, index) => (fits(one) ? [index] : []));
  }

  function list() {
    const found = matching();
    rows = found.slice(0, MAX_ROWS).map((index) => weightRow(classes[index], index, weights[index], (text, input) => {
      changed(setWeight(index, text, input));
    }));
    table.replaceChildren(...rows.map((row) => row.element));
    const hidden = found.length - rows.length;
    const rest = hidden ? `${hidden.toLocaleString("en")} more; filter to see them.` : "";
    say(more, found.length ? rest : "No class matches.");
    shares();
  }

  function shares() {
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    for (const row of rows) say(row.share, percent(weights[row.index] / total));
  }

  function fillAll(values) {
    weights = values;
    list();
    changed(null);
  }

  function setAll() {
    const message = matching().map((index) => setWeight(index, listedWeight.value, listedWeight)).find(Boolean);
    list();
    changed(message);
  }

  filter.addEventListener("input", list);
  const button = (text, onclick) => h("button", { type: "button", onclick }, text);
  byId("prior-editor").replaceChildren(
    h("div", { class: "editor-tools" },
      h("label", { for: "prior-filter" }, "Filter"), filter,
      h("label", { for: "prior-all" }, "Weight"), listedWeight, button("Set all listed", setAll),
      button("Start from equal", () => fillAll(classes.map(() => 1))),
      button("Start from training", () => fillAll(classes.map((one) => one.training_count)))),
    problem,
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Class weights" },
      h("table", { class: "weights" },
        h("thead", {}, h("tr", {}, ...["Class", "In training", "Weight", "Share"].map((text) => h("th", { scope: "col", text })))),
        table)),
    more,
  );
  return {
    setModel(newClasses, newWeights) {
      classes = newClasses;
      weights = [...newWeights];
      filter.value = "";
      showError(problem, null);
      list();
    },
    open: () => filter.focus({ preventScroll: true }),
  };
}

function weightRow({ name, group, training_count: count }, index, weight, onText) {
  const share = h("td", { class: "number" });
  const input = h("input", {
    type: "text", inputmode: "decimal", value: String(weight), size: "7", "aria-label": `weight of ${name}`,
    oninput: () => onText(input.value, input),
  });
  const element = h("tr", {},
    h("th", { scope: "row" }, groupMark(group), h("span", { class: "name", text: name, title: name }), " ", h("span", { class: "group", text: group })),
    h("td", { class: "number", text: count.toLocaleString("en") }),
    h("td", {}, input),
    share);
  return { index, element, share };
}
