// A client program: the client that openapi-generator's `typescript-fetch` makes. Arguments: address, picture, zip file.
import { readFileSync } from "node:fs";
import { ChooseAlphaApi, ClassifyApi, Configuration, FeedbackApi, ModelsApi, ResponseError } from "./client";
import { instanceOfFeedbackAnswer, instanceOfImageResult, instanceOfPathResult } from "./client";

const [basePath, picture, archive] = process.argv.slice(2) as [string, string, string];
const configuration = new Configuration({ basePath });
const model = "cifar10-lt";
const files = [new File([readFileSync(picture)], "cat.webp")];

async function main(): Promise<void> {
  const classify = new ClassifyApi(configuration);
  const choose = new ChooseAlphaApi(configuration);
  const feedback = new FeedbackApi(configuration);
  const answer = await classify.classify({ model, files, alpha: ["0", "balanced"], topK: 2, prior: "uniform" });
  const result = answer.results[0]!;
  if (!instanceOfImageResult(result)) throw new Error("the picture is broken");
  const walked = (await choose.readAlphaPath({ model, files })).results[0]!;
  if (!instanceOfPathResult(walked)) throw new Error("the picture is broken");
  const broken = new File(["broken"], "broken.png");
  const mixed = await classify.classify({ model, files: [...files, broken], topK: 1 });
  const zipped = new Blob([readFileSync(archive)]);
  const tuned = await choose.tuneAlpha({ model, archive: zipped, wait: 30, constraint: ["overall >= 0.1"] });
  const stored = await feedback.sendFeedback({ feedbackRequest: { id: result.id, label: "cat" } });
  if (!instanceOfFeedbackAnswer(stored)) throw new Error("one label has one answer");
  const entries = [
    { id: result.id, label: 3 },
    { id: "0".repeat(32), label: 3 },
  ];
  const several = await feedback.sendFeedback({ feedbackRequest: entries });
  if (instanceOfFeedbackAnswer(several)) throw new Error("a list has a list of answers");
  const [good, bad] = several.results;
  const tuneRequest = { source: "feedback", objective: "overall" } as const;
  const learnt = await choose.tuneAlphaOnResults({ model, tuneRequest, wait: 30 });
  const refusal = await classify.classify({ model: "no-such-model", files }).then(
    () => "none",
    async (error: ResponseError) => (await error.response.json()).error.code as string,
  );
  const listed = await new ModelsApi(configuration).listModels();
  console.log(
    JSON.stringify({
      predictions: result.predictions.map((each) => [each.classes[0]!.name, each.alpha]),
      probability: result.predictions[0]!.classes[0]!.probability,
      path: walked.path.map((step) => [step.name, step.from, step.to]),
      mixed: mixed.results.map((each) => (instanceOfImageResult(each) ? "ImageResult" : "ImageFailure")),
      tuned: [tuned.alpha, tuned.images, tuned.constraints],
      stored: [stored.label.name, stored.interval],
      several: [good && "label" in good && good.label.name, bad && "error" in bad && bad.error.code],
      on_results: learnt.source,
      refusal,
      models: listed.models.map((each) => each.name),
    }),
  );
}

main();
