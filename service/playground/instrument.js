/**
 * The α axis that all parts share: operating points above the slider, the picture's path below it, and one line through
 * them all. Pressing anywhere on the axis sets α; keyboard users have the slider and the number field.
 */

import { byId, groupMark, h, say } from "./dom.js";
import { across, scaleMarks } from "./charts.js";
import { alphaRange, alphaText, parseNumber } from "./numbers.js";
import { stepAt } from "./arithmetic.js";

const ROW_HEIGHT = 26; // px, of a row of operating points
const MIN_AXIS = { low: -2, high: 5 };

/** A model's axis: −2 to 5, wider if its operating points need it, narrower if the server accepts less. */
export function axisOf(points, maximum) {
  const alphas = Object.values(points).map((point) => point.alpha);
  const lows = alphas.map((alpha) => Math.max(Math.floor(alpha), Math.min(alpha, -maximum)));
  const highs = alphas.map((alpha) => Math.min(Math.ceil(alpha), Math.max(alpha, maximum)));
  return {
    low: Math.max(-100, Math.min(Math.max(MIN_AXIS.low, -maximum), ...lows)),
    high: Math.min(100, Math.max(Math.min(MIN_AXIS.high, maximum), ...highs)),
  };
}

/**
 * The instrument; calls `onAlpha(value, pointName or null)` whenever the user moves it. `current()` returns the current α,
 * which may be ahead of the drawn one: a key that is held down repeats faster than frames are drawn.
 */
export function createInstrument(current, onAlpha) {
  const whole = byId("instrument");
  const slider = byId("alpha");
  const field = byId("alpha-number");
  let axis = MIN_AXIS;
  let points = {};
  let path = null;
  let maximum = Infinity; // the largest absolute α that the server accepts
  let exempt = null; // the name of the class that α leaves unchanged

  function setModel(detail) {
    maximum = detail.max_alpha;
    axis = axisOf(detail.operating_points, maximum);
    points = detail.operating_points;
    exempt = detail.exempt_class === null ? null : detail.classes[detail.exempt_class].name;
    slider.min = axis.low;
    slider.max = axis.high;
    byId("scale").replaceChildren(...scaleMarks(axis));
    byId("points").replaceChildren(...Object.entries(points).map(([name, point]) => flag(name, point, axis, onAlpha)));
    layOut();
    return axis;
  }

  function setPath(newPath, classes) {
    path = newPath;
    drawBand(path, classes, axis);
    byId("path-words").replaceChildren(...(path ? pathWords(path, classes) : []));
    if (!path) say(byId("path-note"), exempt ? exemptNote(exempt) : "No picture yet. Its path along α appears here.");
    layOut();
  }

  /** Show the interval of α in which the true class wins: [low, high], null if it never wins, undefined without a label. */
  function setWon(interval, name) {
    const place = byId("won");
    place.hidden = interval === undefined;
    if (interval === undefined) return;
    place.replaceChildren(...wonParts(interval, name, axis));
    layOut();
  }

  function moveTo(alpha, point, classes) {
    const x = Math.min(Math.max(across(axis, alpha), 0), 100);
    whole.style.setProperty("--x", `${x}%`);
    whole.classList.toggle("outside", alpha < axis.low || alpha > axis.high);
    slider.value = alpha;
    slider.setAttribute("aria-valuetext", point ? `${alphaText(alpha)}, ${point}` : alphaText(alpha));
    if (document.activeElement !== field) field.value = alphaText(alpha, 4);
    say(byId("alpha-note"), noteOf(alpha, point));
    for (const button of byId("points").children) {
      button.setAttribute("aria-pressed", String(button.dataset.name === point));
    }
    if (!path) return;
    const step = stepAt(path, alpha);
    const { name } = classes[step.index];
    say(byId("path-note"), `${name} wins from ${alphaText(step.from)} to ${alphaText(step.to)}`);
    for (const part of document.querySelectorAll("#path-words [data-index], #band [data-index]")) {
      part.classList.toggle("now", Number(part.dataset.index) === step.index);
    }
  }

  function noteOf(alpha, point) {
    if (point) return `${point}: ${points[point]?.chosen_by ?? ""}`;
    if (alpha < axis.low || alpha > axis.high) return "outside the slider’s range";
    return alpha === 0 ? "the plain classifier" : "";
  }

  /** What was typed as {alpha, point}, or as {problem}: a sentence. */
  function readAlpha(text) {
    const number = parseNumber(text);
    if (number !== null && Math.abs(number) > maximum) {
      return { problem: `${alphaText(number, 4)} is outside ${alphaRange(maximum)}, which this server accepts` };
    }
    if (number !== null) return { alpha: number, point: null };
    if (Object.hasOwn(points, text.trim())) return { alpha: points[text.trim()].alpha, point: text.trim() };
    return { problem: `“${text.trim()}” is neither a number nor one of ${Object.keys(points).join(", ")}` };
  }

  function layOut() {
    stackFlags(byId("points"));
    stackFlips(byId("flips"));
    keepInside(byId("won").querySelector(".won-words"), byId("won"));
    for (const part of byId("band").children) part.classList.toggle("slim", part.offsetWidth < 34);
  }

  slider.addEventListener("input", () => onAlpha(Number(slider.value), null));
  slider.addEventListener("keydown", (event) => {
    const step = { PageUp: 0.5, PageDown: -0.5 }[event.key]
      ?? (event.shiftKey ? { ArrowRight: 0.1, ArrowUp: 0.1, ArrowLeft: -0.1, ArrowDown: -0.1 }[event.key] : undefined);
    if (step === undefined) return;
    event.preventDefault();
    const next = Math.min(Math.max(current() + step, axis.low), axis.high);
    onAlpha(Math.round(next * 100) / 100, null);
  });
  listenToField(field, current, readAlpha, onAlpha);
  for (const plot of whole.querySelectorAll(".lane-path .band, .lane-curve .curve")) {
    dragAlong(plot, () => axis, onAlpha);
  }
  new ResizeObserver(layOut).observe(byId("points"));
  keepRoomFor(byId("alpha-lane"));
  document.fonts?.ready.then(layOut);
  return { setModel, setPath, setWon, moveTo };
}

/** Tell the style sheet the height of the lane with the slider, which a phone shows at the bottom of the screen. */
function keepRoomFor(lane) {
  const measure = () => document.documentElement.style.setProperty("--alpha-lane", `${lane.offsetHeight}px`);
  new ResizeObserver(measure).observe(lane);
}

const exemptNote = (name) => `This model exempts ${name} from α, so there is no exact path to show.`;

/** The number field accepts a number or an operating point's name; `read` returns {alpha, point} or {problem}. */
function listenToField(field, current, read, onAlpha) {
  const note = byId("alpha-note");
  const take = (text) => {
    const { alpha, point, problem } = read(text);
    field.setAttribute("aria-invalid", String(problem !== undefined));
    if (problem === undefined) onAlpha(alpha, point);
    return problem;
  };
  field.addEventListener("input", () => {
    const problem = take(field.value);
    if (problem !== undefined) say(note, `${problem}.`);
  });
  field.addEventListener("change", () => {
    if (field.value === alphaText(current(), 4)) return;
    const problem = take(field.value);
    if (problem === undefined) return;
    field.value = alphaText(current(), 4);
    field.setAttribute("aria-invalid", "false");
    for (const place of [note, byId("live")]) say(place, `${problem}; α stays ${field.value}.`);
  });
  field.addEventListener("keydown", (event) => {
    const step = { ArrowUp: 0.01, ArrowDown: -0.01 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const next = Math.round((current() + step * (event.shiftKey ? 10 : 1)) * 1e4) / 1e4;
    if (read(String(next)).problem !== undefined) return;
    field.value = alphaText(next, 4);
    onAlpha(next, null);
  });
}

function dragAlong(plot, axis, onAlpha) {
  const move = (event) => {
    const box = plot.getBoundingClientRect();
    const { low, high } = axis();
    const alpha = low + ((event.clientX - box.left) / box.width) * (high - low);
    onAlpha(Math.round(Math.min(Math.max(alpha, low), high) * 100) / 100, null);
  };
  plot.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    plot.setPointerCapture(event.pointerId);
    move(event);
  });
  plot.addEventListener("pointermove", (event) => {
    if (plot.hasPointerCapture(event.pointerId)) move(event);
  });
}

function flag(name, point, axis, onAlpha) {
  const button = h(
    "button",
    {
      type: "button", class: "flag", "data-name": name, "aria-pressed": "false",
      "aria-label": `${name}, α ${alphaText(point.alpha)}`, title: `α = ${point.alpha}: ${point.chosen_by}`,
      onclick: () => onAlpha(point.alpha, name),
    },
    h("span", { text: name }),
  );
  button.style.left = `${across(axis, point.alpha)}%`;
  return button;
}

/** Place each flag at its α, one row above every flag whose stem would cross its name. */
function stackFlags(place) {
  const placed = []; // from right to left
  for (const flag of [...place.children].sort((a, b) => b.offsetLeft - a.offsetLeft)) {
    const begin = flag.offsetLeft;
    const end = begin + flag.firstChild.offsetWidth + 4;
    const under = placed.filter((other) => other.begin < end).map((other) => other.row);
    const row = Math.max(-1, ...under) + 1;
    placed.push({ begin, row });
    flag.style.height = `${ROW_HEIGHT * (row + 1)}px`;
  }
  place.style.height = `${ROW_HEIGHT * Math.max(1, ...placed.map(({ row }) => row + 1)) + 4}px`;
}

function drawBand(path, classes, axis) {
  const band = byId("band");
  const flips = byId("flips");
  if (!path) {
    band.replaceChildren();
    flips.replaceChildren();
    return;
  }
  const inside = path.filter((step) => step.to > axis.low && step.from < axis.high);
  band.replaceChildren(...inside.map((step) => bandPart(step, classes[step.index], axis)));
  flips.replaceChildren(
    ...inside.filter((step) => step.from > axis.low).map((step) => {
      const text = alphaText(step.from);
      const mark = h("span", { class: "flip", "data-alpha": step.from, title: `α = ${step.from}`, text });
      mark.style.left = `${across(axis, step.from)}%`;
      return mark;
    }),
  );
}

function bandPart(step, { name, group }, axis) {
  const from = Math.max(across(axis, step.from), 0);
  const to = Math.min(across(axis, step.to), 100);
  const part = h(
    "span",
    { class: `part ${group}`, "data-index": step.index, "data-from": step.from, "data-to": step.to,
      title: `${name} (${group}): α from ${alphaText(step.from)} to ${alphaText(step.to)}` },
    h("span", { text: name }),
  );
  part.style.left = `${from}%`;
  part.style.width = `${to - from}%`;
  return part;
}

/** The path as a sentence, for readers who cannot see the band; it also names the classes beyond the band's ends. */
function pathWords(path, classes) {
  const words = path.flatMap((step, i) => {
    const { name, group } = classes[step.index];
    const winner = h("span", { "data-index": step.index }, groupMark(group), h("b", { text: name }), ` (${group})`);
    return [winner, i + 1 < path.length ? ` until ${alphaText(step.to)}, then ` : ""];
  });
  return [...words, path.length === 1 ? " at every α." : "."];
}

/** Place the numbers under the flips in up to three rows; a number that fits in no row appears only in the sentence. */
function stackFlips(place) {
  const ends = [-Infinity, -Infinity, -Infinity];
  const width = place.offsetWidth;
  for (const mark of place.children) {
    const half = mark.offsetWidth / 2;
    const centre = mark.offsetLeft;
    const row = ends.findIndex((end) => centre - half > end + 3);
    mark.classList.toggle("unwritten", row < 0);
    mark.classList.toggle("edge-left", centre < half);
    mark.classList.toggle("edge-right", centre > width - half);
    if (row < 0) continue;
    mark.style.setProperty("--row", row);
    ends[row] = centre + half;
  }
}

/** Start the words at their interval, or align them right if they would run over the edge. */
function keepInside(words, place) {
  words?.classList.remove("rightmost");
  words?.classList.toggle("rightmost", words.offsetLeft + words.offsetWidth > place.offsetWidth);
}

function wonParts(interval, name, axis) {
  if (interval === null) return [h("span", { class: "won-words", text: `${name} does not win at any α` })];
  const [low, high] = interval;
  const from = Math.min(Math.max(across(axis, low ?? -Infinity), 0), 100);
  const to = Math.min(Math.max(across(axis, high ?? Infinity), 0), 100);
  const line = h("span", { class: "won-line" });
  line.style.left = `${from}%`;
  line.style.width = `${to - from}%`;
  const text = `true class ${name} wins from ${alphaText(low ?? -Infinity)} to ${alphaText(high ?? Infinity)}`;
  const words = h("span", { class: "won-words", text, title: text });
  words.style.setProperty("--from", `${from}%`);
  return [line, words];
}
