// Twelve schedulers draw the same digits from the same noise, in 5, 10, 20 and 50 steps.
//
//   npm run example -- compare-schedulers
//
// They differ in how they get from one noise level to the next. Those that follow the probability flow without noise of
// their own (Song et al. 2021, section 4.3) all end at the same digits when steps are many, and it shows how soon each
// gets there; DDPM, Euler ancestral and the SDE solver draw new noise in every step, and end at others. The model is that
// of the example class-conditional; where it has not run yet, it is trained first.

import {
  DDIMScheduler,
  DDPMScheduler,
  DEISMultistepScheduler,
  DPMSolverMultistepScheduler,
  DPMSolverSinglestepScheduler,
  EulerAncestralDiscreteScheduler,
  EulerDiscreteScheduler,
  HeunDiscreteScheduler,
  LMSDiscreteScheduler,
  PNDMScheduler,
  RunFolder,
  UniPCMultistepScheduler,
  grid,
  sample,
} from "langevin";
import type { Solver, Tensor } from "langevin";
import { loadOrTrain, schedule, trainingOn } from "./digit-model.ts";
import { labelledGrid } from "./labelled-grid.ts";
import { exampleOptions, useDevice } from "./options.ts";

const { device: asked } = exampleOptions({ iterations: 1, lr: 1, model: "", seed: 1, out: "" });
const { batch, ...defaults } = trainingOn(useDevice(asked));
const places = { model: "runs/digits/model", out: "runs/schedulers" };
const { model: modelFolder, seed, out, ...settings } = exampleOptions({ ...defaults, ...places, seed: 1 });
const model = await loadOrTrain(modelFolder, { ...settings, batch, seed });

// All begin at the last timestep, which is noise alone, and none limits x0: what is seen is the scheduler.
const all = { schedule, timestepSpacing: "trailing" } as const;
const unlimited = { ...all, clipSample: false };
const schedulers = {
  DDPM: new DDPMScheduler(unlimited),
  DDIM: new DDIMScheduler(unlimited),
  PNDM: new PNDMScheduler({ ...all, skipPrkSteps: true }),
  LMS: new LMSDiscreteScheduler(all),
  Euler: new EulerDiscreteScheduler(all),
  "Euler ancestral": new EulerAncestralDiscreteScheduler(all),
  Heun: new HeunDiscreteScheduler(all),
  "DPM++ 2S": new DPMSolverSinglestepScheduler({ schedule }),
  "DPM++ 2M": new DPMSolverMultistepScheduler(all),
  "DPM++ 2M SDE": new DPMSolverMultistepScheduler({ ...all, algorithmType: "sde-dpmsolver++" }),
  DEIS: new DEISMultistepScheduler(all),
  UniPC: new UniPCMultistepScheduler(all),
};
const steps = [5, 10, 20, 50];
const classLabels = [3, 1, 4, 1, 5, 9];

function draw(solver: Solver): Promise<Tensor> {
  return sample({ model, solver, count: classLabels.length, size: [8, 8, 1], seed, classLabels });
}
const cells = [];
const limit = await draw(new HeunDiscreteScheduler(all).solver({ steps: 250 }));
for (const [name, scheduler] of Object.entries(schedulers)) {
  const drawn = [];
  const errs = [];
  for (const n of steps) { const x = await draw(scheduler.solver({ steps: n })); drawn.push(x); errs.push(x.sub(limit).square().mean().item() ** 0.5); }
  console.log(name.padEnd(16), errs.map((e) => e.toFixed(4)).join("  "));
  cells.push(await Promise.all(drawn.map((x) => grid(x, { enlarge: 4, gap: 2, columns: 6, background: 128 }))));
}
const picture = labelledGrid({ rows: Object.keys(schedulers), columns: steps.map((n) => `${n} steps`), cells });
const folder = await RunFolder.create(out);
console.log(await folder.writePicture("schedulers.png", picture));
