// W5: single operations, called one by one as a user's program calls them: convolution, product, norm, attention, Adam.

import type { Tensor } from "langevin";
import { Adam, Conv2d, GroupNorm, MultiHeadAttention, Parameter, noGrad, randn, scope } from "langevin";
import type { Pass, TaskOf } from "../tasks.ts";
import type { Cost, Workload } from "./workload.ts";
import { computed } from "./workload.ts";

/** Groups of the normalisation. */
const normGroups = 32;

/** Convolution 3x3 with bias, zeros around: gradients are those of input, weight and bias. */
export function convolution({ pass, batch, channels, size }: TaskOf<"conv" | "group-norm-silu">): Workload {
  const layer = new Conv2d(channels, channels, 3, { padding: 1 });
  const x = randn([batch, size, size, channels]);
  const flops = 2 * x.size * channels * 9;
  const bytes = 4 * (2 * x.size + layer.parameterCount());
  return operation({ x, forward: (input) => layer.forward(input), parameters: layer.parameters(), pass, flops, bytes });
}

/** GroupNorm of 32 groups and SiLU. */
export function groupNormSilu({ pass, batch, channels, size }: TaskOf<"conv" | "group-norm-silu">): Workload {
  const layer = new GroupNorm(normGroups, channels);
  const x = randn([batch, size, size, channels]);
  const forward = (input: Tensor): Tensor => layer.forward(input).silu();
  return operation({ x, forward, parameters: layer.parameters(), pass, flops: 0, bytes: 8 * x.size });
}

/** Attention of some heads with the layers before and after it. */
export function selfAttention({ pass, batch, length, channels, heads }: TaskOf<"attention">): Workload {
  const layer = new MultiHeadAttention(channels, heads);
  const x = randn([batch, length, channels]);
  const flops = 2 * x.size * 4 * channels + 2 * 2 * x.size * length;
  const bytes = 4 * (2 * x.size + layer.parameterCount());
  return operation({ x, forward: (input) => layer.forward(input), parameters: layer.parameters(), pass, flops, bytes });
}

/** A product of two square matrices. */
export function product({ size }: TaskOf<"matmul">): Workload {
  const [a, b] = [randn([size, size]), randn([size, size])];
  const [flops, bytes] = [2 * size ** 3, 4 * 3 * size ** 2];
  const { close, ...rest } = operation({
    x: a,
    forward: (x) => x.matmul(b),
    parameters: [],
    pass: "fwd",
    flops,
    bytes,
  });
  return {
    ...rest,
    close() {
      b.dispose();
      return close();
    },
  };
}

/** Adam's update of one large parameter; the gradient, which an update consumes, is made before. */
export function adamUpdate({ count }: TaskOf<"adam">): Workload {
  const weight = new Parameter(randn([count]));
  const gradient = randn([count]);
  const adam = new Adam([weight], { lr: 1e-4 });
  return {
    variant: "eager",
    calls: 1,
    cost: { flops: 0, bytes: 4 * 7 * count },
    async prepare() {
      weight.backward(gradient);
      await computed(weight.grad!);
    },
    async run() {
      adam.step();
      await computed(weight);
    },
    close() {
      adam.dispose();
      for (const held of [weight, gradient]) held.dispose();
    },
  };
}

/** An operation on x, and the cost of its forward. */
interface Operation extends Cost {
  readonly x: Tensor;
  readonly forward: (x: Tensor) => Tensor;
  readonly parameters: Iterable<Tensor>;
  readonly pass: Pass;
}

function operation(given: Operation): Workload {
  return given.pass === "fwd" ? forwards(given) : gradients(given);
}

/** Ten forwards a run. */
function forwards({ x, forward, parameters, flops, bytes }: Operation): Workload {
  const calls = 10;
  return {
    variant: "eager",
    calls,
    cost: { flops, bytes },
    async run() {
      const last = noGrad(() => {
        for (let call = 1; call < calls; call++) forward(x).dispose();
        return forward(x);
      });
      await computed(last);
      last.dispose();
    },
    close() {
      for (const held of [x, ...parameters]) held.dispose();
    },
  };
}

/** One backward a run, into gradients that are not there yet, with the forward before it or without. */
function gradients({ x, forward, parameters, pass, flops, bytes }: Operation): Workload {
  x.requireGrad();
  const leaves = [x, ...parameters];
  let result: Tensor | undefined;
  const gradient = scope(() => noGrad(() => randn(forward(x).shape).keep()));
  const compute = (): Tensor => scope(() => forward(x));
  return {
    variant: "eager",
    calls: 1,
    // A backward multiplies twice as much, and reads and writes gradients beside what the forward did.
    cost: pass === "bwd" ? { flops: 2 * flops, bytes: 2 * bytes } : { flops: 3 * flops, bytes: 3 * bytes },
    async prepare() {
      for (const leaf of leaves) leaf.clearGrad();
      if (pass === "bwd") await computed((result = compute()).detach());
    },
    async run() {
      result ??= compute();
      result.backward(gradient);
      await computed(x.grad!);
      result.dispose();
      result = undefined;
    },
    close() {
      for (const held of [gradient, ...leaves]) held.dispose();
    },
  };
}
