// Twelve schedulers draw the same six digits from the same noise, in 5, 10, 20 and 50 steps.
//
//   npm run example -- compare-schedulers
//
// They differ in how they get from one noise level to the next. Ten of them follow the probability flow (Song et al. 2021,
// section 4.3), without noise of their own: with many steps they all end at the same digits, and the table says how far
// from these they are with few. DDPM and Euler ancestral draw new noise in every step, and end elsewhere. The model is that
// of the example class-conditional; where it has not run yet, the model is trained first.

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
} from "langevin";
import type { Scheduler, Tensor } from "langevin";
import { nullLabel, openPipeline, schedule } from "./digit-model.ts";
import { labelledGrid } from "./labelled-grid.ts";

const { pipeline, seed, out } = await openPipeline({ out: "runs/schedulers" });

// diffusers' defaults, but for two: DDPM and DDIM would clip x0 to [-1, 1], which the others do not, and PNDM would begin with
// Runge-Kutta steps of four calls each.
const schedulers: Record<string, Scheduler> = {
  DDPM: new DDPMScheduler({ schedule, clipSample: false }),
  "Euler ancestral": new EulerAncestralDiscreteScheduler({ schedule }),
  DDIM: new DDIMScheduler({ schedule, clipSample: false }),
  Euler: new EulerDiscreteScheduler({ schedule }),
  PNDM: new PNDMScheduler({ schedule, skipPrkSteps: true }),
  LMS: new LMSDiscreteScheduler({ schedule }),
  Heun: new HeunDiscreteScheduler({ schedule }),
  "DPM++ 2S": new DPMSolverSinglestepScheduler({ schedule }),
  "DPM++ 2M": new DPMSolverMultistepScheduler({ schedule }),
  "DPM++ 2M Karras": new DPMSolverMultistepScheduler({ schedule, useKarrasSigmas: true }),
  DEIS: new DEISMultistepScheduler({ schedule }),
  UniPC: new UniPCMultistepScheduler({ schedule }),
};
const numbersOfSteps = [5, 10, 20, 50];
const label = [0, 2, 3, 4, 6, 9];

/** The six digits. Guidance makes it harder to predict where a step leads. */
async function draw(scheduler: Scheduler, steps: number): Promise<Tensor> {
  return pipeline.sample({ scheduler, steps, n: label.length, label, guidance: 3, nullLabel, seed });
}

/** Root mean square difference of two pixels. */
function distance(a: Tensor, b: Tensor): number {
  return Math.sqrt(a.sub(b).square().mean().item());
}

console.log(`Distance to the end of the probability flow (DDIM in ${schedule.steps} steps), after so many steps:\n`);
console.log(`${"".padEnd(16)}${numbersOfSteps.map((steps) => String(steps).padStart(8)).join("")}`);
const end = await draw(schedulers.DDIM, schedule.steps);
const cells = [];
for (const [name, scheduler] of Object.entries(schedulers)) {
  const samples = [];
  for (const steps of numbersOfSteps) samples.push(await draw(scheduler, steps));
  const { isStochastic } = scheduler.solver({ steps: numbersOfSteps[0] });
  const distances = samples.map((x) => (isStochastic ? "-" : distance(x, end).toFixed(3)).padStart(8));
  console.log(`${name.padEnd(16)}${distances.join("")}`);
  cells.push(await Promise.all(samples.map((x) => grid(x, { enlarge: 4, gap: 2, columns: label.length, background: 128 })))); // prettier-ignore
}

const columns = numbersOfSteps.map((steps) => `${steps} steps`);
const folder = await RunFolder.create(out);
const picture = labelledGrid({ rows: Object.keys(schedulers), columns, cells });
const file = await folder.writePicture("schedulers.png", picture);
console.log(`\nLook at ${file}.`);
