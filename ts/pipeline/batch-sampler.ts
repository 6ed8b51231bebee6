// Runs the reverse process on a batch of pictures, step by step, as a plan or eagerly.

import type { Executor, Precision } from "../device/executor.ts";
import type { Network, SolverState } from "../diffusion/solver/solver.ts";
import { ops } from "../ops/index.ts";
import type { Captured } from "../tensor/capture.ts";
import { capture } from "../tensor/capture.ts";
import { noGrad } from "../tensor/grad-mode.ts";
import { draws, randn } from "../tensor/random.ts";
import { Counter, perStep } from "../tensor/recording.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { applyInPlace } from "../tensor/tensor.ts";
import type { TensorTree } from "../tensor/tree.ts";
import { mapTensors, tensorsByPath, tensorsIn } from "../tensor/tree.ts";
import { Pacer } from "../train/pacing.ts";
import type { InpaintOptions, Visit } from "./inpainting.ts";
import { Inpainting } from "./inpainting.ts";
import type { NoisePlace, ReverseProcess } from "./reverse-process.ts";

/** What differs from batch to batch: tensors whose first axis is that of the images; of pictures, 1 is one for all. */
export interface BatchInputs {
  /** Noise to start from, of variance 1; drawn where it is not given. */
  readonly noise?: Tensor;
  /** Pictures to start from, with as much noise as the first call expects. */
  readonly from?: Tensor;
  /** int32 [n]. */
  readonly classLabels?: Tensor;
  /** What is known of the pictures. */
  readonly inpaint?: InpaintOptions;
}

/** How batches are sampled. */
export interface BatchSamplerOptions {
  /** The way from noise to pictures. */
  readonly process: ReverseProcess;
  /** Its calls, in the order in which they are made. */
  readonly visits: readonly Visit[];
  /** The network, told of the class labels where there are some. */
  readonly network: (classLabels: Tensor | undefined) => Network;
  /** [n, H, W, C]. */
  readonly shape: readonly number[];
  /** Key of the noise. */
  readonly seed: bigint;
  /** Where it runs. */
  readonly executor: Executor;
  /** Of the images. */
  readonly dtype?: "float32" | "float64";
  /** Call the network for each step instead of replaying a plan. */
  readonly eager: boolean;
  /** Stop at the first operation whose result is not finite. */
  readonly checkFinite?: boolean;
  /** What products may round their operands to. */
  readonly precision?: Precision;
  /** Stops the run between two steps. */
  readonly signal?: AbortSignal;
}

/** The reverse process on batches of one size. */
export class BatchSampler {
  private readonly options: BatchSamplerOptions;
  private readonly inpainting: Inpainting;
  /** Number of the first image of the batch. */
  private image = 0;
  /** Steps done. */
  private readonly done = new Counter();
  /** The state as it is now; each step overwrites it. */
  private readonly state: SolverState;
  /** What steps read of the batch's inputs; each batch overwrites it. */
  private readonly inputs: StepInputs;
  private readonly plan: Captured<[], undefined> | undefined;

  /** `inputs` are those of the first batch. */
  constructor(options: BatchSamplerOptions, inputs: BatchInputs) {
    this.options = options;
    this.inpainting = new Inpainting(options.visits, options.process.levels);
    this.state = scope(() => kept(this.start(inputs)));
    this.inputs = scope(() => kept(stepInputs(inputs)));
    const { eager, checkFinite, precision } = options;
    if (!eager) this.plan = capture(() => noGrad(() => this.step()), { checkFinite, precision });
  }

  /** Steps of a run. */
  get steps(): number {
    return this.options.visits.length;
  }

  /** The pictures as they are now [n, H, W, C]; they change with the next steps. */
  get x(): Tensor {
    return this.state.x;
  }

  /** Begins with the images from number `image` on. */
  begin(image: number, inputs: BatchInputs): void {
    this.image = image;
    this.done.set(0);
    scope(() => {
      overwrite(this.inputs, stepInputs(inputs));
      overwrite(this.state, this.start(inputs));
    });
  }

  /** Makes so many steps. */
  async advance(steps: number): Promise<void> {
    const { signal } = this.options;
    if (this.plan) for await (const _ of this.plan.replay(steps, { signal }));
    else await this.advanceEagerly(steps);
  }

  /** Frees what it holds. */
  dispose(): void {
    this.plan?.dispose();
    this.inpainting.dispose();
    for (const tensor of [...tensorsIn(this.state), ...tensorsIn(this.inputs)]) tensor.dispose();
  }

  private async advanceEagerly(steps: number): Promise<void> {
    const pacer = new Pacer(this.options.executor);
    for (let step = 0; step < steps; step++) {
      this.options.signal?.throwIfAborted();
      noGrad(() => {
        scope(() => {
          this.step();
        });
      });
      await pacer.turn();
    }
    await pacer.finish();
  }

  /** Noise, or pictures with noise, as the first call expects them. */
  private start({ noise, from }: BatchInputs): SolverState {
    const { process, shape, seed, executor, dtype } = this.options;
    const place = { seed, draw: draws.initialNoise, image: this.image, step: 0, device: executor.name, dtype };
    const drawn = noise ?? randn([...shape], place);
    const { signal, noise: deviation } = process.levels[0];
    const x = from ? from.mul(signal).add(drawn.mul(deviation)) : scaled(drawn, process.initialNoise);
    return process.start(x.broadcastTo([...shape]));
  }

  private step(): undefined {
    const { process, visits, network, seed } = this.options;
    const { classLabels, inpaint } = this.inputs;
    const visit = perStep(() => this.done.value);
    const place: NoisePlace = { seed, image: perStep(() => this.image), step: visit };
    const next = process.step(this.state, () => visits[this.done.value].call, network(classLabels), place);
    const x = inpaint ? this.inpainting.putBack(next.x, inpaint, visit, place) : next.x;
    overwrite(this.state, { ...next, x });
    this.done.add();
  }
}

/** What steps read of a batch's inputs. */
type StepInputs = Readonly<{
  classLabels: Tensor | undefined;
  inpaint: Readonly<{ image: Tensor; mask: Tensor }> | undefined;
}>;

function stepInputs({ classLabels, inpaint }: BatchInputs): StepInputs {
  return { classLabels, inpaint: inpaint && { image: inpaint.image, mask: inpaint.mask } };
}

function scaled(x: Tensor, factor: number): Tensor {
  return factor === 1 ? x : x.mul(factor);
}

/** Copies that stay. */
function kept<T extends TensorTree>(tree: T): T {
  return mapTensors(tree, (tensor) => tensor.clone().keep()) as T;
}

/** Each tensor takes the values of its namesake; those that change places are copied first. */
function overwrite(places: TensorTree, values: TensorTree): void {
  const targets = tensorsByPath(places);
  const taken = new Set(targets.values());
  const sources = [...tensorsByPath(values)].map(([path, value]) => {
    const target = targets.get(path)!;
    return { target, value: value !== target && taken.has(value) ? value.clone() : value };
  });
  for (const { target, value } of sources) if (value !== target) applyInPlace(ops.assign, [target, value], {});
}
