/** How numbers are written on the page: short where they are read, exact where they are copied. */

const MINUS = "−";

/** An α for reading, at most three decimals; ∞ where it is unbounded. */
export function alphaText(alpha, decimals = 3) {
  if (alpha === null || alpha === undefined || Number.isNaN(alpha)) return "–";
  if (!Number.isFinite(alpha)) return alpha > 0 ? "∞" : `${MINUS}∞`;
  const rounded = Number(alpha.toFixed(decimals));
  return String(Object.is(rounded, -0) ? 0 : rounded).replace("-", MINUS);
}

/** A share as percent with one decimal. */
export function percent(share) {
  return share === null || share === undefined ? "–" : `${(100 * share).toFixed(1)} %`;
}

/** A difference of two shares in points, always signed. */
export function points(difference) {
  if (difference === null || difference === undefined) return "–";
  const rounded = (100 * difference).toFixed(1);
  if (Number(rounded) === 0) return "±0.0";
  return difference > 0 ? `+${rounded}` : rounded.replace("-", MINUS);
}

/** The number someone typed, a comma or a typographic minus allowed; null if it is none. */
export function parseNumber(text) {
  const plain = text.trim().replace(MINUS, "-").replace(/^([^.,]*),([^.,]*)$/, "$1.$2");
  const number = plain === "" ? NaN : Number(plain);
  return Number.isFinite(number) ? number : null;
}

/** `1 image`, `2 images`. */
export const counted = (count, thing) => `${count.toLocaleString("en")} ${thing}${count === 1 ? "" : "s"}`;

/** A text as one word of a shell command; control characters are dropped, so that pasting never runs anything. */
export function shellWord(text) {
  const harmless = text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, "");
  return /^[A-Za-z0-9_./:@%+,=-]+$/.test(harmless) ? harmless : `'${harmless.replaceAll("'", "'\\''")}'`;
}
