/**
 * Elements made without markup. Class names, file names and the server's messages are untrusted: the page shows them as
 * text nodes only, so the browser never parses them as HTML.
 */

export const byId = (id) => document.getElementById(id);

/** Make an element. `options` are attributes, except `on…` (event listeners), `class` and `text`. */
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

/** Make an SVG element. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Set an element's text if it differs, so that frequent updates with the same text cost nothing. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Show an error's message in `place`; null clears it. */
export function showError(place, error) {
  if (!error) {
    place.replaceChildren();
    return;
  }
  const id = error.requestId ? h("span", { class: "request-id", text: `request ${error.requestId}` }) : null;
  place.replaceChildren(h("p", { class: "error", role: "alert" }, error.message, id));
}

/** Scroll to an element, unless the user has scrolled away from the form that it answers. */
export function reveal(element, form, block) {
  const { top, bottom } = form.getBoundingClientRect();
  if (bottom > 0 && top < window.innerHeight) element.scrollIntoView({ block });
}

/** Make a row of radio buttons that looks like one switch; returns a function that selects a value. */
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

/** Return a function that calls `action` once, `milliseconds` after the last call of a burst. */
export function debounced(milliseconds, action) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, milliseconds);
  };
}

/** A group's shape and colour; its name always stands beside it. */
export const groupMark = (group) => h("span", { class: `mark ${group}`, "aria-hidden": "true" });
