/** Choosing α from labelled pictures, either a zip of class folders or the feedback so far. The server does the work. */

import { byId, h, radioSwitch, reveal, say, showError } from "./dom.js";
import { ApiError } from "./api.js";
import { counted } from "./numbers.js";
import { createReport } from "./report.js";
import * as api from "./api.js";

const SOURCES = [["archive", "a labelled zip"], ["feedback", "feedback so far"]];
const OBJECTIVES = [
  ["balanced", "balanced: mean recall of the classes"],
  ["overall", "overall: share of images classified correctly"],
  ["harmonic", "harmonic mean of the classes’ recall"],
  ["geometric", "geometric mean of the classes’ recall"],
  ["few", "few: mean recall of the group"],
  ["medium", "medium: mean recall of the group"],
  ["many", "many: mean recall of the group"],
  ["worst_class", "worst class: recall of the worst class"],
];
const FIGURES = ["overall", "many", "medium", "few", "balanced", "worst_class"];
const POLL_MS = 300;
const ENDED = new Set(["done", "failed", "cancelled"]);

/** The form, the progress and the report; calls `onAlpha(alpha)` to try an α, and `onSaved()` when a point was stored. */
export function createTune(onAlpha, onSaved) {
  const form = buildForm();
  const report = createReport(byId("tune-result"), onAlpha, onSaved);
  const progress = createProgress(byId("tune-progress"));
  let model = null;
  let axis = null;
  let running = null; // {controller, job, cancelled} of the current run; answers of earlier runs are dropped

  async function start() {
    stop();
    showError(byId("tune-error"), null);
    report.clear();
    const run = { controller: new AbortController(), job: null, cancelled: false };
    running = run;
    form.busy(true);
    try {
      const request = form.request();
      progress.begin(request.activity, () => cancel(run));
      const { data } = await api.startTune(model.name, { ...request.options, signal: run.controller.signal });
      const result = data.job ? await follow(run, data.job) : data;
      if (running !== run || !result) return;
      progress.end(); // before the page scrolls to the report, which stands below it
      report.show(model, axis, result, request.source);
    } catch (error) {
      if (running !== run || error.name === "AbortError") return;
      showError(byId("tune-error"), error);
      reveal(byId("tune-error"), byId("tune-form"), "nearest");
    } finally {
      if (running === run) {
        running = null;
        progress.end();
        form.busy(false);
      }
    }
  }

  /** Poll a job until it ends; return its result, or throw an ApiError if it failed or was cancelled. */
  async function follow(run, first) {
    let job = first;
    while (!ENDED.has(job.state)) {
      run.job = job.id;
      if (run.cancelled) await api.cancelJob(job.id);
      progress.at(job);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      job = await api.job(job.id, run.controller.signal);
    }
    if (job.state === "done") return job.result;
    if (job.state === "cancelled") throw new ApiError("Cancelled. Nothing was changed.");
    throw new ApiError(job.error?.message ?? job.error ?? "The job failed.");
  }

  async function cancel(run) {
    run.cancelled = true;
    if (run.job === null) {
      run.controller.abort();
      showError(byId("tune-error"), new ApiError("Cancelled. Nothing was changed."));
      return;
    }
    try {
      await api.cancelJob(run.job);
    } catch (error) {
      showError(byId("tune-error"), error);
    }
  }

  /** Cancel the current run, because the user chose another model or started again. */
  function stop() {
    if (!running) return;
    const { controller, job } = running;
    running = null;
    controller.abort();
    progress.end();
    form.busy(false);
    if (job !== null) api.cancelJob(job).catch((error) => showError(byId("tune-error"), error));
  }

  byId("tune-form").addEventListener("submit", (event) => {
    event.preventDefault();
    start();
  });
  return {
    setModel(detail, newAxis) {
      stop();
      model = detail;
      axis = newAxis;
      showError(byId("tune-error"), null);
      report.clear();
    },
    updateModel(detail) {
      model = detail;
    },
    moveTo: report.moveTo,
  };
}

function buildForm() {
  const archive = h("input", { type: "file", id: "archive", accept: ".zip,application/zip" });
  const archiveRow = h("div", { class: "field" },
    h("label", { for: "archive", text: "Zip" }), archive,
    h("p", { class: "note", text: "A folder for each class, named like the model’s classes, with JPEG, PNG or WebP pictures." }));
  const objective = h("select", { id: "objective" }, ...OBJECTIVES.map(([value, text]) => h("option", { value, text })));
  const constraints = h("div", { class: "constraints" });
  const add = h("button", { type: "button", id: "add-constraint" }, "Add a constraint");
  const submit = h("button", { type: "submit", id: "start-tune", class: "primary" }, "Find the best α");
  const switchPlace = h("div", { class: "switch", role: "radiogroup", "aria-label": "Tune on" });
  let source = "archive";
  const choose = radioSwitch(switchPlace, "tune-source", SOURCES, (value) => {
    source = value;
    archiveRow.hidden = source !== "archive";
  });
  choose(source);
  add.addEventListener("click", () => {
    const row = constraintRow();
    constraints.append(row);
    row.querySelector("select").focus();
  });
  byId("tune-form").addEventListener("drop", (event) => {
    if (event.dataTransfer.files.length && !archiveRow.hidden) archive.files = event.dataTransfer.files;
  });
  byId("tune-form").replaceChildren(
    switchPlace, archiveRow,
    h("div", { class: "field" }, h("label", { for: "objective", text: "Maximise" }), objective),
    constraints, h("div", { class: "form-actions" }, submit, add));

  function request() {
    const rules = [...constraints.children].map((row) => row.constraint());
    if (source === "feedback") {
      const json = { source: "feedback", objective: objective.value, constraints: rules };
      return { options: { json }, activity: "Reading the labels", source: "feedback" };
    }
    const file = archive.files[0];
    if (!file) throw new ApiError("Choose a zip first. It needs a folder of pictures for each class.");
    const body = new FormData();
    body.append("objective", objective.value);
    for (const rule of rules) body.append("constraint", rule);
    body.append("archive", file, file.name);
    return { options: { body }, activity: `Sending ${file.name}`, source: file.name };
  }

  return {
    request,
    busy(is) {
      submit.disabled = is;
      say(submit, is ? "Working…" : "Find the best α");
    },
  };
}

/** One constraint on a figure; `constraint()` returns it in the server's form, `FIGURE >= VALUE%`. */
function constraintRow() {
  const figure = h("select", { "aria-label": "figure" }, ...FIGURES.map((name) => h("option", { value: name, text: name.replace("_", " ") })));
  const minimum = h("input", { type: "text", inputmode: "decimal", size: "5", value: "70", "aria-label": "at least, in percent" });
  const row = h("div", { class: "constraint" }, "while", figure, "≥", minimum, "%");
  row.append(h("button", { type: "button", "aria-label": "remove this constraint", onclick: () => row.remove() }, "remove"));
  row.constraint = () => `${figure.value} >= ${minimum.value.trim().replace(",", ".")}%`;
  return row;
}

function createProgress(place) {
  const bar = h("progress", { id: "tune-bar", "aria-label": "progress" });
  const status = h("span", { role: "status" });
  let cancel = () => {};
  place.replaceChildren(bar, status, h("button", { type: "button", id: "cancel-tune", onclick: () => cancel() }, "Cancel"));
  return {
    begin(activity, onCancel) {
      cancel = onCancel;
      bar.removeAttribute("value");
      say(status, `${activity}…`);
      place.hidden = false;
    },
    at({ state, done, total }) {
      if (total) {
        bar.max = total;
        bar.value = done ?? 0;
      }
      say(status, total ? `${done ?? 0} of ${counted(total, "image")}` : `${state}…`);
    },
    end() {
      place.hidden = true;
    },
  };
}
