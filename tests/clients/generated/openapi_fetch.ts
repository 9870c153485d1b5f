// A client program: openapi-fetch with the types that openapi-typescript makes. Arguments: address, picture, zip file.
import { readFileSync } from "node:fs";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

const [address, picture, archive] = process.argv.slice(2) as [string, string, string];
const client = createClient<paths>({ baseUrl: address });
const model = "cifar10-lt";
const bytes = new Blob([readFileSync(picture)]);

/** Send every field of a body as a form: a Blob as a file, each entry of a list as a field of its own. */
function asForm(body: unknown): FormData {
  const form = new FormData();
  for (const [name, value] of Object.entries(body as object)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each instanceof Blob) form.append(name, each, "cat.webp");
      else form.append(name, String(each));
    }
  }
  return form;
}

/** A file in a form: the generated types call it a string. */
const file = (blob: Blob): string => blob as unknown as string;

function required<T>(answer: { data?: T; error?: unknown }): T {
  if (answer.data === undefined) throw new Error(JSON.stringify(answer.error));
  return answer.data;
}

async function main(): Promise<void> {
  const classified = required(
    await client.POST("/v1/models/{model}/classify", {
      params: { path: { model }, query: { alpha: ["0", "balanced"], top_k: 2, prior: "uniform" } },
      body: { files: [file(bytes)] },
      bodySerializer: asForm,
    }),
  );
  const result = classified.results[0]!;
  if ("error" in result) throw new Error(result.error.message);
  const walked = required(
    await client.POST("/v1/models/{model}/alpha-path", {
      params: { path: { model } },
      body: { files: [file(bytes)] },
      bodySerializer: asForm,
    }),
  ).results[0]!;
  if ("error" in walked) throw new Error(walked.error.message);
  const mixed = required(
    await client.POST("/v1/models/{model}/classify", {
      params: { path: { model }, query: { top_k: 1 } },
      body: { files: [file(bytes), file(new Blob(["broken"]))] },
      bodySerializer: asForm,
    }),
  );
  const tuned = required(
    await client.POST("/v1/models/{model}/alpha/tune", {
      params: { path: { model }, query: { wait: 30 } },
      body: { archive: file(new Blob([readFileSync(archive)])), constraint: ["overall >= 0.1"] },
      bodySerializer: asForm,
    }),
  );
  if ("job" in tuned) throw new Error("the job is not done");
  const stored = required(await client.POST("/v1/feedback", { body: { id: result.id, label: "cat" } }));
  if ("results" in stored) throw new Error("one label has one answer");
  const entries: components["schemas"]["FeedbackRequest"] = [
    { id: result.id, label: 3 },
    { id: "0".repeat(32), label: 3 },
  ];
  const several = required(await client.POST("/v1/feedback", { body: entries }));
  if (!("results" in several)) throw new Error("a list has a list of answers");
  const [good, bad] = several.results;
  const learnt = required(
    await client.POST("/v1/models/{model}/alpha/tune-on-results", {
      params: { path: { model }, query: { wait: 30 } },
      body: { source: "feedback", objective: "overall" },
    }),
  );
  const refused = await client.POST("/v1/models/{model}/classify", {
    params: { path: { model: "no-such-model" } },
    body: { files: [file(bytes)] },
    bodySerializer: asForm,
  });
  const listed = required(await client.GET("/v1/models"));
  console.log(
    JSON.stringify({
      predictions: result.predictions.map((each) => [each.classes[0]!.name, each.alpha]),
      probability: result.predictions[0]!.classes[0]!.probability,
      path: walked.path.map((step) => [step.name, step.from, step.to]),
      mixed: mixed.results.map((each) => ("error" in each ? "ImageFailure" : "ImageResult")),
      tuned: [tuned.alpha, tuned.images, tuned.constraints],
      stored: [stored.label.name, stored.interval],
      several: [good && "label" in good && good.label.name, bad && "error" in bad && bad.error.code],
      on_results: "source" in learnt && learnt.source,
      refusal: refused.error && "error" in refused.error && refused.error.error.code,
      models: listed.models.map((each) => each.name),
    }),
  );
}

main();
