/**
 * The API key, where the server wants one: asked for once for all calls that wait, kept for this tab only, and never in
 * an address.
 */

import { byId, h, say } from "./dom.js";

const STORED = "longtail-api-key";
let key = read();
let waiting = null; // {promise, resolve} of the calls that wait for a key

/** What a call sends beside its own headers. */
export const keyHeaders = () => (key ? { Authorization: `Bearer ${key}` } : {});

/** A key is in use. */
export const hasKey = () => key !== "";

/** Wait for a key after one was refused; `refused` are the headers that were. Another may be there already. */
export async function waitForKey(refused) {
  if (hasKey() && keyHeaders().Authorization !== refused.Authorization) return;
  if (!waiting) {
    let resolve;
    const promise = new Promise((done) => (resolve = done));
    waiting = { promise, resolve };
    show(hasKey() ? "The server does not know this key, or does not take it any more." : "");
  }
  await waiting.promise;
}

function show(problem) {
  const input = h("input", {
    type: "password", id: "key", autocomplete: "off", spellcheck: "false", required: true, "aria-describedby": "key-note",
    "aria-invalid": problem ? "true" : null,
  });
  const form = h("form", { id: "key-form", class: "key-form", onsubmit: (event) => take(event, input) },
    h("h2", { text: "This server wants an API key" }),
    problem ? h("p", { class: "error", role: "alert", text: problem }) : null,
    h("div", { class: "form-actions" },
      h("label", { for: "key", text: "API key" }), input, h("button", { type: "submit", class: "primary", text: "Use this key" })),
    h("p", { class: "note", id: "key-note", text: "Whoever runs the server gives you one. It stays in this tab, and is forgotten with it." }));
  byId("key-place").replaceChildren(form);
  input.focus();
}

function take(event, input) {
  event.preventDefault();
  const typed = input.value.trim();
  if (!/^[\x21-\x7e]+$/.test(typed)) { // nothing else fits into a header
    show("That is no key: a key has no blanks in it, and no letters beyond ASCII.");
    return;
  }
  keep(typed);
  byId("key-place").replaceChildren(forgetButton());
  const { resolve } = waiting;
  waiting = null;
  resolve();
}

const forgetButton = () => h("p", { class: "note" }, "Calls are sent with your API key. ",
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
    say(byId("live"), "This browser keeps nothing for the page; the key is gone when it is loaded again.");
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
