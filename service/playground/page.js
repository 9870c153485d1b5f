/**
 * The playground: one state, and the parts that show it.
 *
 * The server is asked once per picture, at α = 0 with all classes. Every α and every prior after that is arithmetic in
 * here, done at most once per frame. An answer that comes late for a picture or a model no longer on show is dropped.
 */

import { byId, debounced, groupMark, h, say, showError } from "./dom.js";
import { alphaPath, headEffect, probabilities, tdeLogits, topClasses } from "./arithmetic.js";
import { alphaText, percent } from "./numbers.js";
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

const LIMIT = 1e6; // models/tde.py: beyond it float32 logits mean nothing
const GROUPS = { many: "over 100 training images", medium: "20 to 100", few: "under 20" };

const state = {
  model: null, alpha: 0, point: null, prior: { kind: "train", weights: null },
  picture: null, result: null, // the picture on show, and the server's answer about it
  logits: null, slope: null, top: null,
  label: null, interval: null, // the true class where it was said, and where it wins as trained
};
let modelTurn = 0;
let pictureTurn = 0;
let asking = null; // of the classify call in flight
let framed = 0;

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
  state.alpha = Math.min(Math.max(alpha, -LIMIT), LIMIT);
  state.point = point;
  soon();
}

/** Draw in the next frame, once, however many things changed until then. */
function soon() {
  if (!framed && state.model) framed = requestAnimationFrame(draw);
}

function draw() {
  framed = 0;
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
  remember();
}

const announce = debounced(500, () => {
  if (!state.logits || !state.top) return;
  const { name, group } = state.model.classes[state.top.index];
  say(byId("live"), `α ${alphaText(state.alpha)}: ${name}, ${percent(state.top.probability)}, ${group}`);
});

const showCurl = debounced(80, () => say(byId("curl"), share.curlOf(state))); // long, where a prior names 1,000 classes

const remember = debounced(250, () => history.replaceState(null, "", `#${share.hashOf(state)}`));

/** Logits with the prior, and the path they give: once per picture and prior, not per α. */
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
  soon();
}

/** Where the true class wins: as the server said for the logits as trained; with a prior, as the path says. */
function wonWith(path) {
  if (state.prior.kind === "train") return state.interval;
  const step = path.find(({ index }) => index === state.label.index);
  return step ? [step.from, step.to] : null;
}

/** Ask about a picture; a later picture makes this answer stale. */
async function classify(next) {
  const mine = ++pictureTurn;
  asking?.abort();
  asking = new AbortController();
  state.picture = next;
  if (!state.model) return; // it is asked about as soon as there is a model
  forgetResult("Looking…");
  showError(byId("picture-error"), null);
  const { model } = state;
  try {
    const result = await api.classify(model.name, model.classes.length, next.blob, next.name, asking.signal);
    if (mine !== pictureTurn) return;
    if (result.error) throw new ApiError(result.error.message, 0, result.error.code, result.error.request_id);
    takeResult(result);
  } catch (error) {
    if (mine !== pictureTurn || error.name === "AbortError") return;
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

function forgetResult(words) {
  Object.assign(state, { result: null, logits: null, slope: null, top: null, label: null, interval: null });
  feedback.setResult(null);
  instrument.setWon(undefined);
  bars.empty(Math.min(ROWS, state.model.classes.length), words);
  applyPrior();
}

/** The server keeps a label: mark it, if its picture is still on show. */
function keepLabel(id, { label, interval }) {
  if (state.result?.id !== id) return;
  Object.assign(state, { label, interval });
  say(byId("given"), `Kept: ${label.name} is the true class.`);
  applyPrior();
}

/** Show a model, with whatever the address asks for. */
async function showModel(name, wanted) {
  const mine = ++modelTurn;
  byId("model").value = name;
  byId("instrument").setAttribute("aria-busy", "true");
  try {
    const detail = await api.describeModel(name);
    if (mine !== modelTurn) return;
    state.model = detail;
    begin(detail, wanted);
  } catch (error) {
    if (mine === modelTurn) showError(byId("page-error"), error);
  } finally {
    if (mine === modelTurn) byId("instrument").removeAttribute("aria-busy");
  }
}

function begin(detail, wanted) {
  const odd = [];
  const alpha = share.wantedAlpha(wanted.alpha, detail.operating_points);
  if (!alpha) odd.push(`α “${wanted.alpha}” in the address is neither a number nor an operating point of ${detail.name}`);
  const asked = share.wantedPrior(wanted.prior, wanted.weights, detail.classes);
  if (!asked) odd.push("the prior in the address makes no sense for this model");
  if (wanted.odd) odd.push(wanted.odd);
  showError(byId("page-error"), odd.length ? new ApiError(`${odd.join("; ")}. Shown without it.`) : null);
  const axis = instrument.setModel(detail);
  state.prior = prior.setModel(detail, asked ?? { kind: "train", weights: null });
  Object.assign(state, alpha ?? { alpha: 0, point: null });
  aboutModel(detail);
  forgetResult("Choose a picture, and its classes appear here.");
  curves.setModel(detail, axis);
  feedback.setModel(detail);
  tune.setModel(detail, axis);
  const sample = share.wantedSample(wanted.image);
  if (sample && state.picture?.sample !== sample) picture.takeSample(sample);
  else if (state.picture) classify(state.picture);
}

/** A point was stored: fetch what is in force now, and keep everything else as it is. */
async function refreshPoints() {
  const detail = await api.describeModel(state.model.name);
  if (detail.name !== state.model.name) return;
  state.model = detail;
  instrument.setModel(detail);
  tune.updateModel(detail);
  soon();
  await feedback.refresh();
}

function aboutModel({ name, version, classes, engine, provenance }) {
  say(byId("about-model"), `${classes.length.toLocaleString("en")} classes, version ${version}`);
  const trained = provenance?.created ?? provenance?.date;
  const words = [`${name}, version ${version}`, engine, trained ? `made ${trained}` : ""];
  say(byId("provenance"), words.filter(Boolean).join(" · "));
  const present = Object.keys(GROUPS).filter((group) => classes.some((one) => one.group === group));
  byId("group-keys").replaceChildren(...present.map((group) =>
    h("span", { class: "group-key" }, groupMark(group), h("b", { text: group }), ` ${GROUPS[group]}`)));
}

async function copyCurl() {
  const words = byId("curl").textContent;
  try {
    await navigator.clipboard.writeText(words);
    say(byId("copied"), "Copied.");
  } catch {
    getSelection().selectAllChildren(byId("curl"));
    say(byId("copied"), "Selected; press Ctrl+C, as this browser lets no page copy here.");
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
    if (wanted.model && !known) wanted.odd = `this server has no model “${wanted.model}”`;
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
  else remember(); // the link to the slider, say
});
open();
