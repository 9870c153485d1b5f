/** Calls to the server that sent this page. Every failure becomes an ApiError with a sentence for the reader. */

import { keyHeaders, waitForKey } from "./key.js";

export class ApiError extends Error {
  constructor(message, status = 0, code = "unreachable", requestId = "") {
    super(message);
    this.status = status;
    this.code = code;
    this.requestId = requestId;
  }
}

/** The URL of a call. It stays below this page's folder, so the server may sit under a path prefix. */
export function address(path, query = {}) {
  const url = new URL(path, new URL(".", document.baseURI));
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined) url.searchParams.append(name, value);
  }
  return url;
}

/**
 * Send a request and return {status, data}. `body` is sent unchanged, `json` is encoded. If the server answers 401, ask
 * the user for an API key and send the request again.
 */
export async function call(method, path, { query, body, json, headers, signal } = {}) {
  const usedKey = keyHeaders();
  const options = { method, signal, headers: { ...headers, ...usedKey }, cache: "no-store" };
  if (json !== undefined) {
    options.body = JSON.stringify(json);
    options.headers["Content-Type"] = "application/json";
  } else if (body !== undefined) options.body = body;
  let response;
  try {
    response = await fetch(address(path, query), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(`The server at ${location.host} does not answer; is it still running?`);
  }
  if (response.status === 401) {
    await waitForKey(usedKey);
    return call(method, path, { query, body, json, headers, signal });
  }
  return { status: response.status, data: await readJson(response) };
}

async function readJson(response) {
  const text = await response.text();
  let data = null;
  try {
    data = text ? JSON.parse(text) : null;
  } catch {
    throw new ApiError(`The server answered ${response.status}, but the answer is not JSON.`, response.status);
  }
  if (response.ok) return data;
  const { message, code, request_id: requestId } = data?.error ?? {};
  throw new ApiError(message ?? `The server answered ${response.status}.`, response.status, code, requestId);
}

const model = (name) => `v1/models/${encodeURIComponent(name)}`;
const data = async (promise) => (await promise).data;

export const listModels = async () => (await data(call("GET", "v1/models"))).models;
export const describeModel = (name, signal) => data(call("GET", model(name), { signal }));

/** Classify one picture at α = 0 with all classes, from which the page computes every other α. Returns the result. */
export async function classify(name, classes, blob, fileName, signal) {
  const form = new FormData();
  form.append("files", blob, fileName);
  const query = { alpha: 0, top_k: classes };
  const answer = await data(call("POST", `${model(name)}/classify`, { query, body: form, signal }));
  return answer.results[0];
}

export const curve = (name, query, signal) => data(call("GET", `${model(name)}/alpha/curve`, { query, signal }));
export const sendFeedback = (id, label) => data(call("POST", "v1/feedback", { json: { id, label } }));
export const feedbackOf = (name, signal) => data(call("GET", `${model(name)}/feedback`, { signal }));
export const startTune = (name, options) => call("POST", `${model(name)}/alpha/tune`, options);
export const job = (id, signal) => data(call("GET", `v1/jobs/${encodeURIComponent(id)}`, { signal }));
export const cancelJob = (id) => call("DELETE", `v1/jobs/${encodeURIComponent(id)}`);

const point = (name, pointName) => `${model(name)}/operating-points/${encodeURIComponent(pointName)}`;
export const savePoint = (name, pointName, json) => data(call("PUT", point(name, pointName), { json }));
export const removePoint = (name, pointName, query) => data(call("DELETE", point(name, pointName), { query }));
