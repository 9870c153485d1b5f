/**
 * The playground: one state and the parts that show it.
 *
 * The page classifies each picture once, at α = 0 with all classes. It computes every other α and every prior itself, at
 * most once per frame. An answer that arrives after the user has chosen another picture or model is dropped.
 */

import { byId, debounced, groupMark, h, say, showError } from "./dom.js";
import { alphaPath, headEffect, probabilities, tdeLogits, topClasses } from "./arithmetic.js";
import { alphaRange, alphaText, percent } from "./numbers.js";
import { createBars, ROWS } from "./bars.js";
import { createInstrument } from "./instrument.js";
import { createPicture } from "./picture.js";
import { createPrior, shiftOf } from "./prior.js";
import { createCurves } from "./curves.js";
import { createFeedback } from "./feedback.js";
import { createTune } from "./tune.js";
import { ApiError } from "./api.js";
import * as api from "./api.js";
import * as share from "./share.js";

const GROUPS = { many: "over 100 training images", medium: "20 to 100", few: "under 20" };

const state = {
  model: null, alpha: 0, point: null, prior: { kind: "train", weights: null },
  picture: null, result: null, // the picture on show and the server's result for it
  logits: null, slope: null, top: null,
  label: null, interval: null, // the true class, if the user gave it, and where it wins without a prior
};
let modelTurn = 0;
let pictureTurn = 0;
let inFlight = null; // AbortController of the classify call in flight
let frameRequest = 0;

const bars = createBars(byId("bars"), (index) => feedback.send(index));
const instrument = createInstrument(() => state.alpha, setAlpha);
const picture = createPicture(classify);
const prior = createPrior((next) => {
  state.prior = next;
  applyPrior();
});
const curves = createCurves();
const feedback = createFeedback(keepLabel, curves.setLabels);
const tune = createTune((alpha) => setAlpha(alpha, null), refreshPoints);

function setAlpha(alpha, point) {
  state.alpha = alpha;
  state.point = point;
  scheduleDraw();
}

/** Draw once in the next frame, however many changes precede it. */
function scheduleDraw() {
  if (!frameRequest && state.model) frameRequest = requestAnimationFrame(draw);
}

function draw() {
  frameRequest = 0;
  const { model, alpha, point, result, logits, slope } = state;
  instrument.moveTo(alpha, point, model.classes);
  curves.moveTo(alpha);
  if (logits) {
    const shifted = tdeLogits(logits, slope, alpha);
    const probability = probabilities(result.logits, shifted, model.exempt_class);
    const top = topClasses(probability, shifted, Math.min(ROWS, model.classes.length));
    bars.render(model.classes, top, probability, state.label?.index ?? null);
    state.top = { index: top[0], probability: probability[top[0]] };
  }
  showCurl();
  announce();
  updateAddress();
}

const announce = debounced(500, () => {
  if (!state.logits || !state.top) return;
  const { name, group } = state.model.classes[state.top.index];
  say(byId("live"), `α ${alphaText(state.alpha)}: ${name}, ${percent(state.top.probability)}, ${group}`);
});

const showCurl = debounced(80, () => say(byId("curl"), share.curlOf(state))); // a prior can name 1,000 classes

const updateAddress = debounced(250, () => history.replaceState(null, "", `#${share.hashOf(state)}`));

/** Compute the logits with the prior and their path, once per picture and prior. */
function applyPrior() {
  const { model, result } = state;
  state.logits = null;
  if (result) {
    const shift = shiftOf(state.prior, model.classes);
    state.logits = shift ? result.logits.map((logit, i) => logit + shift[i]) : result.logits;
    const path = model.exempt_class === null ? alphaPath(state.logits, state.slope) : null;
    instrument.setPath(path, model.classes);
    if (path && state.label) instrument.setWon(wonWith(path), state.label.name);
  } else {
    instrument.setPath(null, model.classes);
  }
  scheduleDraw();
}

/** The interval in which the true class wins: the server's answer without a prior; with one, read from the path. */
function wonWith(path) {
  if (state.prior.kind === "train") return state.interval;
  const step = path.find(({ index }) => index === state.label.index);
  return step ? [step.from, step.to] : null;
}

/** Classify a picture; a later picture makes this answer stale. */
async function classify(next) {
  const thisTurn = ++pictureTurn;
  inFlight?.abort();
  inFlight = new AbortController();
  state.picture = next;
  if (!state.model) return; // `showDetail` classifies it as soon as a model is loaded
  forgetResult("Classifying…");
  showError(byId("picture-error"), null);
  const { model } = state;
  try {
    const result = await api.classify(model.name, model.classes.length, next.blob, next.name, inFlight.signal);
    if (thisTurn !== pictureTurn) return;
    if (result.error) throw new ApiError(result.error.message, 0, result.error.code, result.error.request_id);
    takeResult(result);
  } catch (error) {
    if (thisTurn !== pictureTurn || error.name === "AbortError") return;
    bars.empty(ROWS, "No prediction.");
    showError(byId("picture-error"), error);
  }
}

function takeResult(result) {
  const { model } = state;
  const logits = new Float64Array(model.classes.length);
  for (const { index, logit } of result.predictions[0].classes) logits[index] = logit;
  state.result = { id: result.id, logits };
  state.slope = headEffect(result.head_cosine, model.class_effect);
  feedback.setResult(state.result);
  applyPrior();
}

function forgetResult(text) {
  Object.assign(state, { result: null, logits: null, slope: null, top: null, label: null, interval: null });
  feedback.setResult(null);
  instrument.setWon(undefined);
  bars.empty(Math.min(ROWS, state.model.classes.length), text);
  applyPrior();
}

/** Show a label that the server has stored, if its picture is still on show. */
function keepLabel(id, { label, interval }) {
  if (state.result?.id !== id) return;
  Object.assign(state, { label, interval });
  say(byId("given"), `Saved: ${label.name} is the true class.`);
  applyPrior();
}

/** Load a model and show it with the settings from the address. */
async function showModel(name, wanted) {
  const thisTurn = ++modelTurn;
  byId("model").value = name;
  byId("instrument").setAttribute("aria-busy", "true");
  try {
    const detail = await api.describeModel(name);
    if (thisTurn !== modelTurn) return;
    state.model = detail;
    showDetail(detail, wanted);
  } catch (error) {
    if (thisTurn === modelTurn) showError(byId("page-error"), error);
  } finally {
    if (thisTurn === modelTurn) byId("instrument").removeAttribute("aria-busy");
  }
}

function showDetail(detail, wanted) {
  const problems = [];
  const alpha = share.wantedAlpha(wanted.alpha, detail.operating_points);
  const outside = alpha && Math.abs(alpha.alpha) > detail.max_alpha;
  if (!alpha) problems.push(`α “${wanted.alpha}” in the address is neither a number nor an operating point of ${detail.name}`);
  if (outside) problems.push(`α “${wanted.alpha}” in the address is outside ${alphaRange(detail.max_alpha)}, which this server accepts`);
  const wantedPrior = share.wantedPrior(wanted.prior, wanted.weights, detail.classes);
  if (!wantedPrior) problems.push("the prior in the address does not fit this model");
  if (wanted.problem) problems.push(wanted.problem);
  showError(byId("page-error"), problems.length ? new ApiError(`${problems.join("; ")}. The page ignores it.`) : null);
  const axis = instrument.setModel(detail);
  state.prior = prior.setModel(detail, wantedPrior ?? { kind: "train", weights: null });
  Object.assign(state, alpha && !outside ? alpha : { alpha: 0, point: null });
  picture.setClasses(detail.classes);
  describeShownModel(detail);
  forgetResult("Choose a picture to see its classes here.");
  curves.setModel(detail, axis);
  feedback.setModel(detail);
  tune.setModel(detail, axis);
  const sample = share.wantedSample(wanted.image);
  if (sample && state.picture?.sample !== sample) picture.takeSample(sample);
  else if (state.picture) classify(state.picture);
}

/** Fetch the operating points after one was stored; keep everything else on the page. */
async function refreshPoints() {
  const detail = await api.describeModel(state.model.name);
  if (detail.name !== state.model.name) return;
  state.model = detail;
  instrument.setModel(detail);
  tune.updateModel(detail);
  scheduleDraw();
  await feedback.refresh();
}

function describeShownModel({ name, version, classes, engine, provenance }) {
  say(byId("about-model"), `${classes.length.toLocaleString("en")} classes, version ${version}`);
  const created = provenance?.created ?? provenance?.date;
  const facts = [`${name}, version ${version}`, engine, created ? `created ${created}` : ""];
  say(byId("provenance"), facts.filter(Boolean).join(" · "));
  const present = Object.keys(GROUPS).filter((group) => classes.some((entry) => entry.group === group));
  byId("group-keys").replaceChildren(...present.map((group) =>
    h("span", { class: "group-key" }, groupMark(group), h("b", { text: group }), ` ${GROUPS[group]}`)));
}

async function copyCurl() {
  const command = byId("curl").textContent;
  try {
    await navigator.clipboard.writeText(command);
    say(byId("copied"), "Copied.");
  } catch {
    getSelection().selectAllChildren(byId("curl"));
    say(byId("copied"), "Selected. Press Ctrl+C: this browser does not let the page copy.");
  }
  setTimeout(() => say(byId("copied"), ""), 4000);
}

async function open() {
  const wanted = share.readHash(location.hash);
  try {
    const models = await api.listModels();
    const select = byId("model");
    select.replaceChildren(...models.map(({ name }) => h("option", { value: name, text: name })));
    select.disabled = false;
    const known = models.some(({ name }) => name === wanted.model);
    if (wanted.model && !known) wanted.problem = `this server has no model “${wanted.model}”`;
    if (models.length) await showModel(known ? wanted.model : models[0].name, known || !wanted.model ? wanted : { ...wanted, alpha: null });
  } catch (error) {
    showError(byId("page-error"), error);
  }
}

byId("model").addEventListener("change", () => {
  showModel(byId("model").value, { alpha: null, prior: null, weights: null, image: null });
});
byId("copy").addEventListener("click", copyCurl);
window.addEventListener("hashchange", () => {
  if (share.readHash(location.hash).model) open();
  else updateAddress(); // for example after the link to the slider
});
open();
