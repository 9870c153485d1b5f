/** The page's state as a URL to share, and as a curl command that returns the same answer. */

import { address } from "./api.js";
import { hasKey } from "./key.js";
import { priorQuery } from "./prior.js";
import { shellWord } from "./numbers.js";
import { SAMPLES } from "./picture.js";
import { ROWS } from "./bars.js";

const MAX_URL_LENGTH = 65_000;
const RAW_TYPES = ["image/jpeg", "image/png", "image/webp"];

/** The part of the page's URL after the #. */
export function hashOf({ model, alpha, point, prior, picture }) {
  const words = new URLSearchParams({ model: model.name, alpha: point ?? String(alpha) });
  if (prior.kind !== "train") words.set("prior", prior.kind);
  if (prior.kind === "custom") {
    const changed = prior.weights.flatMap((weight, index) => (weight === 1 ? [] : [`${index}:${weight}`]));
    if (changed.length) words.set("weights", changed.join(","));
  }
  if (picture?.sample) words.set("image", picture.sample);
  return words.toString().replaceAll("%3A", ":").replaceAll("%2C", ",");
}

/** Read the part after the #: each setting as text, not validated; null if it is missing. */
export function readHash(hash) {
  const words = new URLSearchParams(hash.replace(/^#/, ""));
  return Object.fromEntries(["model", "alpha", "prior", "weights", "image"].map((name) => [name, words.get(name)]));
}

/** The α in the URL as {alpha, point}; null if it is neither a number nor an operating point. */
export function wantedAlpha(text, points) {
  if (text === null) return { alpha: 0, point: null };
  if (Object.hasOwn(points, text)) return { alpha: points[text].alpha, point: text };
  const alpha = text.trim() === "" ? NaN : Number(text);
  return Number.isFinite(alpha) ? { alpha, point: null } : null;
}

/** The prior in the URL; null if it does not fit these classes. */
export function wantedPrior(kind, text, classes) {
  if (kind === null || kind === "train" || kind === "uniform") return { kind: kind ?? "train", weights: null };
  if (kind !== "custom") return null;
  const weights = classes.map(() => 1);
  for (const pair of text ? text.split(",") : []) {
    const [index, weight] = pair.split(":").map(Number);
    if (!(index in weights) || !(weight > 0 && Number.isFinite(weight))) return null;
    weights[index] = weight;
  }
  return { kind, weights };
}

export const wantedSample = (text) => (SAMPLES.includes(text) ? text : null);

/** The curl command for the answer that the page shows. */
export function curlOf({ model, alpha, point, prior, picture }) {
  const query = {
    alpha: point ?? String(alpha), top_k: Math.min(ROWS, model.classes.length), prior: priorQuery(prior, model.classes),
  };
  const url = address(`v1/models/${encodeURIComponent(model.name)}/classify`, query);
  const name = picture?.name ?? "picture.jpg";
  const type = picture ? picture.blob.type : "image/jpeg";
  const source = picture?.sample ? `service/playground/samples/${name}` : name;
  const body = RAW_TYPES.includes(type)
    ? `--data-binary ${shellWord(`@${source}`)} -H 'Content-Type: ${type}'`
    : `-F ${shellWord(`files=@${source}`)}`;
  const key = hasKey() ? ' -H "Authorization: Bearer $KEY"' : ""; // a variable instead of the key: the command may be shared
  const command = `curl ${body}${key} ${shellWord(url.href.replaceAll("'", "%27"))}`;
  return url.href.length < MAX_URL_LENGTH ? command : `# too long: the server accepts URLs of up to 64 KB\n${command}`;
}
