/**
 * Making elements without markup. Class names, file names and the server's sentences are strangers' text: whatever is
 * shown goes through here as a text node, so none of it is ever parsed as HTML.
 */

export const byId = (id) => document.getElementById(id);

/** An element. `options`: attributes; `on…` functions are listeners, `class` and `text` are what they say. */
export function h(tag, options = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "text") element.textContent = value;
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Write text only where it changed: a thousand updates a second cost nothing if they say the same. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Show an error's sentence in its place, or clear the place. */
export function showError(place, error) {
  if (!error) {
    place.replaceChildren();
    return;
  }
  const id = error.requestId ? h("span", { class: "request-id", text: `request ${error.requestId}` }) : null;
  place.replaceChildren(h("p", { class: "error", role: "alert" }, error.message, id));
}

/** A row of radio buttons that looks like one switch; returns `set(value)`. */
export function radioSwitch(place, name, choices, onChange) {
  const inputs = new Map();
  place.replaceChildren(
    ...choices.map(([value, text]) => {
      const input = h("input", { type: "radio", name, value, onchange: () => onChange(value) });
      inputs.set(value, input);
      return h("label", {}, input, h("span", { text }));
    }),
  );
  return (value) => {
    for (const [key, input] of inputs) input.checked = key === value;
  };
}

/** Call a function once, `milliseconds` after the last of a burst of calls. */
export function debounced(milliseconds, action) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, milliseconds);
  };
}

/** A class's group as shape and colour; its name is always written beside it. */
export const groupMark = (group) => h("span", { class: `mark ${group}`, "aria-hidden": "true" });
