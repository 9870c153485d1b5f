/** The most probable classes as bars. The rows are made once; a new α only rewrites their contents. */

import { groupMark, h, say } from "./dom.js";
import { percent } from "./numbers.js";

export const ROWS = 8;

/** Bars in `list`; calls `onLabel(index)` when the user clicks a row's button to mark the true class. */
export function createBars(list, onLabel) {
  const rows = [];

  function build(count) {
    rows.length = 0;
    for (let i = 0; i < count; i += 1) rows.push(makeRow(onLabel));
    list.replaceChildren(...rows.map((row) => row.item));
  }

  /** Show the classes `top`, by index, with their probabilities; `label` is the index of the true class, or null. */
  function render(classes, top, probability, label) {
    if (rows.length !== top.length) build(top.length);
    top.forEach((index, i) => fill(rows[i], index, classes[index], probability[index], index === label));
  }

  function empty(count, text) {
    rows.length = 0;
    const ghosts = Array.from({ length: count }, () => h("li", { class: "ghost", "aria-hidden": "true" }));
    list.replaceChildren(h("li", { class: "empty", text }), ...ghosts.slice(1));
  }

  return { render, empty };
}

function makeRow(onLabel) {
  const row = { index: -1, group: "", isLabel: false };
  row.mark = groupMark("many");
  row.name = h("span", { class: "name" });
  row.groupName = h("span", { class: "group" });
  row.fill = h("span", { class: "fill" });
  row.share = h("span", { class: "share" });
  row.button = h("button", { type: "button", class: "this", onclick: () => onLabel(row.index) }, "this is it");
  row.item = h(
    "li",
    {},
    h("span", { class: "what" }, row.mark, row.name, " ", row.groupName),
    h("span", { class: "track", "aria-hidden": "true" }, row.fill),
    row.share,
    row.button,
  );
  return row;
}

function fill(row, index, { name, group }, probability, isLabel) {
  say(row.share, percent(probability));
  row.fill.style.transform = `scaleX(${probability})`;
  if (row.index !== index || row.isLabel !== isLabel) {
    row.index = index;
    row.isLabel = isLabel;
    row.item.dataset.index = index;
    say(row.name, name);
    row.name.title = name;
    say(row.button, isLabel ? "✓ this is it" : "this is it");
    row.button.setAttribute("aria-label", `${name}: ${row.button.textContent}`);
    row.item.classList.toggle("labelled", isLabel);
  }
  if (row.group !== group) {
    row.group = group;
    say(row.groupName, group);
    row.mark.className = `mark ${group}`;
    row.fill.className = `fill ${group}`;
  }
}
