/** One picture: dropped, pasted, chosen or a sample. It is drawn on a canvas, so it never needs a URL. */

import { byId, h, say, showError } from "./dom.js";
import { address, ApiError } from "./api.js";
import { counted } from "./numbers.js";

/** The sample pictures, each named after the class that it shows. */
export const SAMPLES = ["truck", "ship", "cat", "sunflower", "rocket", "bowl"];
const HINT = "Drop a picture here, paste one, or choose a sample.";
const HINT_WITHOUT_SAMPLES = "Drop a picture here, paste one, or choose a file.";
const MAX_PREVIEW_PIXELS = 512; // on the longer side
const sampleFile = (sample) => `${sample}.webp`;

/** The picture on show; calls `onPicture({blob, name, sample})` for every new one. */
export function createPicture(onPicture) {
  const drop = byId("drop");
  const file = byId("file");
  let turn = 0;

  async function show({ blob, name, sample }, ignoredFiles = 0) {
    const thisTurn = ++turn;
    say(byId("picture-name"), ignoredFiles ? `${name} (one at a time; ignored ${counted(ignoredFiles, "other file")})` : name);
    markSample(sample);
    const canvas = byId("preview");
    const bitmap = await createImageBitmap(blob).catch(() => null);
    if (thisTurn !== turn) return;
    canvas.hidden = bitmap === null;
    say(byId("drop-hint"), bitmap ? "" : "This browser cannot show the picture.");
    if (!bitmap) return;
    const scale = Math.min(1, MAX_PREVIEW_PIXELS / Math.max(bitmap.width, bitmap.height));
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    canvas.classList.toggle("tiny", canvas.width <= 96 && canvas.height <= 96);
    canvas.setAttribute("aria-label", `the picture ${name}`);
    bitmap.close();
  }

  function take(picture, ignoredFiles) {
    show(picture, ignoredFiles);
    onPicture(picture);
  }

  function takeFiles(files) {
    if (files.length === 0) {
      showError(byId("picture-error"), new ApiError("This is not a file. Drop or paste a JPEG, PNG or WebP picture."));
      return;
    }
    take({ blob: files[0], name: files[0].name || "pasted picture", sample: null }, files.length - 1);
  }

  /** Fetch a sample and take it as if it had been dropped. */
  async function takeSample(sample) {
    const thisTurn = ++turn;
    try {
      const response = await fetch(address(`playground/samples/${sampleFile(sample)}`));
      if (!response.ok) throw new ApiError(`This server does not have the sample ${sample} (${response.status}).`);
      const blob = await response.blob();
      if (thisTurn === turn) take({ blob, name: sampleFile(sample), sample }, 0);
    } catch (error) {
      if (thisTurn !== turn) return;
      const known = error instanceof ApiError;
      showError(byId("picture-error"), known ? error : new ApiError(`The page could not fetch the sample ${sample}.`));
    }
  }

  byId("choose").addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    if (file.files.length) takeFiles([...file.files]);
    file.value = "";
  });
  listenToDrops(drop, takeFiles);
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) takeFiles(files);
  });
  /** Offer the samples that show one of the model's classes. */
  function setClasses(classes) {
    const names = new Set(classes.map(({ name }) => name));
    const fitting = SAMPLES.filter((sample) => names.has(sample));
    byId("samples").replaceChildren(...fitting.map((sample) => sampleButton(sample, takeSample)));
    byId("samples").hidden = fitting.length === 0;
    if (byId("preview").hidden) say(byId("drop-hint"), fitting.length ? HINT : HINT_WITHOUT_SAMPLES);
  }

  return { takeSample, setClasses };
}

function sampleButton(sample, takeSample) {
  const thumbnail = h("img", {
    src: address(`playground/samples/${sampleFile(sample)}`), alt: sample, width: 32, height: 32,
  });
  return h(
    "button",
    { type: "button", class: "sample", "data-sample": sample, title: `sample: a ${sample}`, onclick: () => takeSample(sample) },
    thumbnail,
  );
}

function markSample(sample) {
  for (const button of byId("samples").children) {
    button.setAttribute("aria-pressed", String(button.dataset.sample === sample));
  }
}

/** Accept drops anywhere on the page; otherwise the browser would open a picture dropped beside the frame. */
function listenToDrops(drop, takeFiles) {
  const inForm = (event) => event.target.closest?.("#tune-form"); // it accepts zips
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    if (inForm(event)) return;
    drop.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) drop.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    drop.classList.remove("over");
    event.preventDefault();
    if (!inForm(event)) takeFiles([...event.dataTransfer.files]);
  });
}
