// npm run bench [-- --device cpu|ts] [--peers]: times the tutorial's workloads, and PyTorch's time for the same work.

import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { parseArgs } from "node:util";
import {
  Adam,
  ImageSet,
  NoiseSchedule,
  defaultDevice,
  mse,
  noGrad,
  randn,
  sample,
  scope,
  setDefaultDevice,
  train,
} from "langevin";
import { TutorialUNet } from "../examples/tutorial-nets.ts";

/** Medians of repeated runs. */
interface Figure {
  readonly workload: string;
  readonly metric: string;
  readonly median: number;
  readonly min: number;
  readonly n: number;
}

const { values: options } = parseArgs({ options: { device: { type: "string" }, peers: { type: "boolean" } } });
if (options.device) setDefaultDevice(options.device as "cpu" | "ts");

function figure(workload: string, metric: string, times: number[]): Figure {
  const sorted = times.toSorted((a, b) => a - b);
  const show = (x: number): number => Number(x.toPrecision(4));
  return { workload, metric, median: show(sorted[sorted.length >> 1]), min: show(sorted[0]), n: times.length };
}

/** Seconds that each of `count` runs takes, after one to warm up. */
async function time(count: number, run: () => Promise<void>): Promise<number[]> {
  const times: number[] = [];
  for (let i = -1; i < count; i++) {
    const start = performance.now();
    await run();
    if (i >= 0) times.push((performance.now() - start) / 1000);
  }
  return times;
}

const schedule = new NoiseSchedule({ steps: 1000, betaStart: 1e-4, betaEnd: 0.02 });
const model = new TutorialUNet({ imageChannels: 1, channels: [16, 32, 64], timeDim: 16, steps: 1000 });

/** W1: training steps of tutorial part C at batch 128, as `train` runs them: ten steps, which overlap, are one run. */
async function trainSteps(count: number): Promise<Figure> {
  const [warm, together] = [20, 10];
  const adam = new Adam(model.parameters(), { lr: 1e-4 });
  const picture = new ImageSet({ images: new Float32Array(64).fill(-1), shape: [1, 8, 8, 1] });
  const times: number[] = [];
  let last = performance.now();
  for await (const { iteration } of train({
    iterations: warm + count * together,
    schedule,
    data: picture.batches(128),
    step: ({ x0, t, noise }) => {
      const loss = mse(model.forward(schedule.addNoise(x0, t, noise), t), noise);
      loss.backward();
      adam.step();
      return { loss };
    },
  })) {
    if (iteration < warm || iteration % together !== 0) continue;
    const now = performance.now();
    if (iteration > warm) times.push((now - last) / together);
    last = now;
  }
  adam.dispose();
  return figure("W1", "ms_per_train_step", times);
}

/** W2: 1000 reverse steps with that model. */
async function reverseSteps(batch: number, count: number): Promise<Figure> {
  const times = await time(count, async () => {
    (await sample({ model, schedule, count: batch, size: [8, 8, 1] })).dispose();
  });
  return figure(`W2-b${batch}`, "s_total_1000_steps", times);
}

/** W3: the reverse step alone, with its noise, for one image of 512x512x3; ten steps are one run. */
async function largeReverseStep(count: number): Promise<Figure> {
  const [x, epsilon] = [randn([1, 512, 512, 3]), randn([1, 512, 512, 3])];
  const t = schedule.timesteps(500, x);
  const times = await time(count, async () => {
    const last = noGrad(() =>
      scope(() => {
        let y = x;
        for (let step = 0; step < 10; step++) y = schedule.reverseStep(y, t, epsilon, { seed: 1, step });
        return y;
      }),
    );
    await last.slice(0, 0, [0, 1]).data();
    last.dispose();
  });
  return figure(
    "W3",
    "ms_per_step",
    times.map((seconds) => seconds * 100),
  );
}

function torchFigures(): Figure[] {
  const script = join(import.meta.dirname, "peers", "torch_tutorial.py");
  for (const python of ["python3", "/usr/bin/python3"]) {
    const { status, stdout } = spawnSync(python, [script], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    if (status === 0)
      return stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as Figure);
  }
  console.log("PyTorch was not measured: no python3 here has torch.");
  return [];
}

const slow = defaultDevice() === "ts";
const ours = [
  await trainSteps(slow ? 3 : 40),
  await reverseSteps(1, slow ? 1 : 7),
  await reverseSteps(64, slow ? 1 : 3),
  await largeReverseStep(slow ? 3 : 20),
];
const torch = options.peers ? torchFigures() : [];
for (const { workload, metric, median, min, n } of ours) {
  const peer = torch.find((other) => other.workload === workload);
  const compared = peer
    ? `; PyTorch ${peer.median} (min ${peer.min}), ${(peer.median / median).toFixed(2)}x as long`
    : "";
  console.log(`${workload} ${metric} on ${defaultDevice()}, float32: median ${median}, min ${min}, n ${n}${compared}`);
}
