/**
 * The API key, if the server requires one. One form asks for it on behalf of all waiting calls. The key is kept for this
 * tab only and never appears in a URL.
 */

import { byId, h, say } from "./dom.js";

const STORED = "longtail-api-key";
let key = read();
let waiting = null; // {promise, resolve}, shared by all calls that wait for a key

/** The headers that a call adds to its own. */
export const keyHeaders = () => (key ? { Authorization: `Bearer ${key}` } : {});

/** Whether a key is in use. */
export const hasKey = () => key !== "";

/** Wait for a new key after the server refused the headers `refused`; return at once if a new key is already there. */
export async function waitForKey(refused) {
  if (hasKey() && keyHeaders().Authorization !== refused.Authorization) return;
  if (!waiting) {
    let resolve;
    const promise = new Promise((done) => (resolve = done));
    waiting = { promise, resolve };
    show(hasKey() ? "The server does not accept this key, or no longer accepts it." : "");
  }
  await waiting.promise;
}

function show(problem) {
  const input = h("input", {
    type: "password", id: "key", autocomplete: "off", spellcheck: "false", required: true, "aria-describedby": "key-note",
    "aria-invalid": problem ? "true" : null,
  });
  const form = h("form", { id: "key-form", class: "key-form", onsubmit: (event) => take(event, input) },
    h("h2", { text: "This server requires an API key" }),
    problem ? h("p", { class: "error", role: "alert", text: problem }) : null,
    h("div", { class: "form-actions" },
      h("label", { for: "key", text: "API key" }), input, h("button", { type: "submit", class: "primary", text: "Use this key" })),
    h("p", { class: "note", id: "key-note", text: "Ask the server’s operator for one. It is kept in this tab only and forgotten when you close the tab." }));
  byId("key-place").replaceChildren(form);
  input.focus();
}

function take(event, input) {
  event.preventDefault();
  const typed = input.value.trim();
  if (!/^[\x21-\x7e]+$/.test(typed)) { // a header holds nothing else
    show("This cannot be a key: a key consists of ASCII letters, digits and signs, without spaces.");
    return;
  }
  keep(typed);
  byId("key-place").replaceChildren(forgetButton());
  const { resolve } = waiting;
  waiting = null;
  resolve();
}

const forgetButton = () => h("p", { class: "note" }, "Requests are sent with your API key. ",
  h("button", { type: "button", id: "forget-key", text: "Forget it", onclick: forget }));

function forget() {
  keep("");
  location.reload();
}

function keep(text) {
  key = text;
  try {
    if (text) sessionStorage.setItem(STORED, text);
    else sessionStorage.removeItem(STORED);
  } catch {
    say(byId("live"), "This browser does not let the page store the key; reloading the page forgets it.");
  }
}

function read() {
  try {
    return sessionStorage.getItem(STORED) ?? "";
  } catch {
    return "";
  }
}

if (hasKey()) byId("key-place").replaceChildren(forgetButton());
