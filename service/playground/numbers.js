/** Number formats: rounded for reading, exact for copying. */

const MINUS = "−";

/** An α for reading, with at most `decimals` decimals; ∞ if it is unbounded. */
export function alphaText(alpha, decimals = 3) {
  if (alpha === null || alpha === undefined || Number.isNaN(alpha)) return "–";
  if (!Number.isFinite(alpha)) return alpha > 0 ? "∞" : `${MINUS}∞`;
  const rounded = Number(alpha.toFixed(decimals));
  return String(Object.is(rounded, -0) ? 0 : rounded).replace("-", MINUS);
}

/** The values of α that a server accepts, for reading. */
export const alphaRange = (maximum) => `${alphaText(-maximum)} to ${alphaText(maximum)}`;

/** A share as a percentage with one decimal. */
export function percent(share) {
  return share === null || share === undefined ? "–" : `${(100 * share).toFixed(1)} %`;
}

/** A difference of two shares in percentage points, with its sign unless it is 0. */
export function points(difference) {
  if (difference === null || difference === undefined) return "–";
  const rounded = (100 * difference).toFixed(1);
  if (Number(rounded) === 0) return "0.0";
  return difference > 0 ? `+${rounded}` : rounded.replace("-", MINUS);
}

/** Parse a typed number, which may have a decimal comma or a typographic minus; null if it is not a number. */
export function parseNumber(text) {
  const plain = text.trim().replace(MINUS, "-").replace(/^([^.,]*),([^.,]*)$/, "$1.$2");
  const number = plain === "" ? NaN : Number(plain);
  return Number.isFinite(number) ? number : null;
}

/** `1 image`, `2 images`. */
export const counted = (count, thing) => `${count.toLocaleString("en")} ${thing}${count === 1 ? "" : "s"}`;

/** Quote a text as one word of a shell command. Control characters are dropped, so pasting it cannot run a command. */
export function shellWord(text) {
  const harmless = text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, "");
  return /^[A-Za-z0-9_./:@%+,=-]+$/.test(harmless) ? harmless : `'${harmless.replaceAll("'", "'\\''")}'`;
}
