// Draws with a pipeline: any folder that diffusers' `save_pretrained` wrote of a UNet2DModel and its scheduler.
//
//   npm run example -- load-pipeline --model path/to/ddpm-cifar10-32
//
// Without --model it takes the digits of the example class-conditional, and trains these first where it has not run yet.
// While it draws, preview.png shows how far it is: image viewers that follow a file show it growing out of the noise.

import { Progress, RunFolder, grid, stack } from "langevin";
import type { GridOptions, Tensor } from "langevin";
import { openPipeline } from "./digit-model.ts";

const { pipeline, model, seed, out } = await openPipeline({ out: "runs/pipeline" });
const { numClassEmbeds } = pipeline.model.options;
console.log(
  `${model}: ${pipeline.model.parameterCount()} parameters, ${numClassEmbeds ?? "no"} classes, ${pipeline.scheduler.name}.`,
);

// A model with classes is asked for each of them in turn. DPM-Solver++ needs few steps, whatever the folder's own scheduler is.
const n = 16;
/** Of so many pictures the strip shows the way. */
const shown = 4;
const label = numClassEmbeds === null ? undefined : Array.from({ length: n }, (_, k) => k % numClassEmbeds);
const run = pipeline.sample({ n, label, seed, scheduler: "DPMSolverMultistepScheduler", steps: 25, previewEvery: 5 });

const folder = await RunFolder.create(out);
let progress: Progress | undefined;
const looks: Tensor[] = [];
for await (const { step, steps, preview } of run) {
  progress ??= new Progress({ total: steps });
  progress.update(step);
  await folder.writePicture("preview.png", await grid(preview, layout(preview)));
  looks.push(preview.slice([0, shown]).keep());
}
progress?.finish();

const pictures = await run;
const samples = await folder.writePicture("samples.png", await grid(pictures, layout(pictures)));
const strip = stack(looks, 1).reshape([-1, ...pictures.shape.slice(1)]);
const file = await folder.writePicture("strip.png", await grid(strip, { ...layout(strip), columns: looks.length }));
console.log(`Look at ${samples}, and at ${file} for the way there.`);

/** Small pictures are shown enlarged. */
function layout({ shape: [, height] }: Tensor): GridOptions {
  return { enlarge: Math.max(1, Math.floor(64 / height)), gap: 2 };
}
