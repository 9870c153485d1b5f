/** One picture: dropped, pasted, chosen or a sample. It is drawn on a canvas, so that no address of it is ever needed. */

import { byId, h, say, showError } from "./dom.js";
import { address, ApiError } from "./api.js";
import { counted } from "./numbers.js";

export const SAMPLES = ["truck", "ship", "cat"];
const LARGEST_PREVIEW = 512; // px
const sampleFile = (sample) => `${sample}.webp`;

/** The picture's place; `onPicture({blob, name, sample})` for every new one. */
export function createPicture(onPicture) {
  const drop = byId("drop");
  const file = byId("file");
  let turn = 0;

  async function show({ blob, name, sample }, others = 0) {
    const mine = ++turn;
    say(byId("picture-name"), others ? `${name} (one at a time: ${counted(others, "other file")} left out)` : name);
    markSample(sample);
    const canvas = byId("preview");
    const bitmap = await createImageBitmap(blob).catch(() => null);
    if (mine !== turn) return;
    canvas.hidden = bitmap === null;
    say(byId("drop-hint"), bitmap ? "" : "This browser cannot show it.");
    if (!bitmap) return;
    const scale = Math.min(1, LARGEST_PREVIEW / Math.max(bitmap.width, bitmap.height));
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    canvas.classList.toggle("tiny", canvas.width <= 96 && canvas.height <= 96);
    canvas.setAttribute("aria-label", `the picture ${name}`);
    bitmap.close();
  }

  function take(picture, others) {
    show(picture, others);
    onPicture(picture);
  }

  function takeFiles(files) {
    if (files.length === 0) {
      showError(byId("picture-error"), new ApiError("That was no file; drop or paste a JPEG, PNG or WebP picture."));
      return;
    }
    take({ blob: files[0], name: files[0].name || "pasted picture", sample: null }, files.length - 1);
  }

  /** Fetch a sample and take it as if it had been dropped. */
  async function takeSample(sample) {
    const mine = ++turn;
    try {
      const response = await fetch(address(`playground/samples/${sampleFile(sample)}`));
      if (!response.ok) throw new ApiError(`The sample ${sample} is not on this server (${response.status}).`);
      const blob = await response.blob();
      if (mine === turn) take({ blob, name: sampleFile(sample), sample }, 0);
    } catch (error) {
      if (mine !== turn) return;
      const known = error instanceof ApiError;
      showError(byId("picture-error"), known ? error : new ApiError(`The sample ${sample} cannot be fetched.`));
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
  byId("samples").replaceChildren(...SAMPLES.map((sample) => sampleButton(sample, takeSample)));
  return { takeSample };
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

/** The whole page takes drops: missing the frame would otherwise make the browser leave the page. */
function listenToDrops(drop, takeFiles) {
  const inForm = (event) => event.target.closest?.("#tune-form"); // it takes zips
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
