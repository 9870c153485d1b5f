/**
 * Accuracy against α, drawn on the page's one α axis. Positions are percentages of the width, so the slider, the band
 * and every chart line up at any size without being redrawn.
 */

import { h, svg } from "./dom.js";
import { alphaText, percent } from "./numbers.js";
import { readAt } from "./arithmetic.js";

export const SERIES = ["overall", "many", "medium", "few", "balanced"];

/** The position of an α on an axis {low, high}, in percent of its width. */
export const across = (axis, alpha) => (100 * (alpha - axis.low)) / (axis.high - axis.low);

/** The numbers under an axis: every whole number. */
export function scaleMarks(axis) {
  const marks = [];
  for (let alpha = Math.ceil(axis.low); alpha <= axis.high; alpha += 1) {
    const mark = h("span", { class: alpha === 0 ? "zero" : null, text: alphaText(alpha) });
    mark.style.left = `${across(axis, alpha)}%`;
    marks.push(mark);
  }
  return marks;
}

/** The series that a chart shows: all that have values, but `balanced` only if it differs from `overall`. */
export function shownSeries(figures) {
  const twin = figures.overall && figures.balanced?.every((value, i) => Math.abs(value - figures.overall[i]) < 5e-4);
  return SERIES.filter((name) => figures[name]?.length && !(name === "balanced" && twin));
}

/** A chart in `place`; `draw` shows data, `moveTo` moves the dots to an α. */
export function createChart(place) {
  let current = null;

  function draw(axis, { alphas, figures }, { shades = [], marks = [] } = {}) {
    const names = shownSeries(figures);
    const top = Math.min(1, Math.max(0.2, Math.ceil(5 * Math.max(...names.flatMap((n) => figures[n]))) / 5));
    const drawing = svg("svg", { viewBox: "0 0 1000 1000", preserveAspectRatio: "none", "aria-hidden": "true" });
    const x = (alpha) => (10 * across(axis, Math.min(Math.max(alpha, axis.low), axis.high))).toFixed(2);
    const y = (share) => (1000 - (1000 * share) / top).toFixed(2);
    for (const { name, from, to } of shades) {
      const width = Math.max(1, x(to ?? axis.high) - x(from ?? axis.low));
      drawing.append(svg("rect", { class: name, x: x(from ?? axis.low), y: 0, width, height: 1000 }));
    }
    for (let level = 0; level <= top + 1e-9; level += 0.2) {
      drawing.append(svg("line", { class: "grid", x1: 0, x2: 1000, y1: y(level), y2: y(level) }));
    }
    for (const { alpha } of marks) {
      drawing.append(svg("line", { class: "guide", x1: x(alpha), x2: x(alpha), y1: 0, y2: 1000 }));
    }
    for (const name of names) {
      drawing.append(svg("path", { class: `line ${name}`, d: linePath(axis, alphas, figures[name], x, y) }));
    }
    const dots = names.map((name) => h("span", { class: `dot ${name}` }));
    place.replaceChildren(...levelLabels(top), drawing, ...markLabels(axis, marks), ...dots);
    current = { axis, alphas, figures, names, top, dots };
  }

  function moveTo(alpha) {
    if (!current) return;
    const { axis, alphas, figures, names, top, dots } = current;
    names.forEach((name, i) => {
      const value = readAt(alphas, figures[name], alpha);
      dots[i].hidden = value === null || alpha < axis.low || alpha > axis.high;
      if (dots[i].hidden) return;
      dots[i].style.left = `${across(axis, alpha)}%`;
      dots[i].style.top = `${100 - (100 * value) / top}%`;
    });
  }

  function clear(...children) {
    current = null;
    place.replaceChildren(...children);
  }

  return { draw, moveTo, clear };
}

/** A chart's figures at an α and at α = 0, as rows of a table. */
export function figureRows({ alphas, figures }, alpha) {
  return shownSeries(figures).map((name) => ({
    name,
    value: readAt(alphas, figures[name], alpha),
    plain: readAt(alphas, figures[name], 0),
  }));
}

/** The line through the samples on the axis, up to its ends; samples inside a flat stretch are left out. */
function linePath(axis, alphas, values, x, y) {
  const first = Math.max(axis.low, alphas[0]);
  const last = Math.min(axis.high, alphas[alphas.length - 1]);
  let path = `M${x(first)} ${y(readAt(alphas, values, first))}`;
  for (let i = 0; i < alphas.length; i += 1) {
    const flat = values[i] === values[i - 1] && values[i] === values[i + 1];
    if (alphas[i] > first && alphas[i] < last && !flat) path += `L${x(alphas[i])} ${y(values[i])}`;
  }
  return `${path}L${x(last)} ${y(readAt(alphas, values, last))}`;
}

function levelLabels(top) {
  const labels = [];
  for (let level = 0.2; level <= top + 1e-9; level += 0.2) {
    const label = h("span", { class: "level", text: percent(level).replace(".0", ""), "aria-hidden": "true" });
    label.style.top = `${100 - (100 * level) / top}%`;
    labels.push(label);
  }
  return labels;
}

function markLabels(axis, marks) {
  return marks.map(({ alpha, text }) => {
    const label = h("span", { class: "mark-label", text, "aria-hidden": "true" });
    label.style.left = `${across(axis, alpha)}%`;
    if (across(axis, alpha) > 80) label.classList.add("leftwards");
    return label;
  });
}
