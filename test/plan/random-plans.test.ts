// Random programs of all operations with their gradients, captured with poisoned memory: every value has eager's bits.

import { expect } from "chai";
import type { CaptureOptions, Tensor } from "langevin";
import { capture, manualSeed, scope } from "langevin";
import { cpuIsBuilt, cudaOnHost } from "../tensor/devices.ts";
import type { Program } from "../tensor/random-programs.ts";
import { drawProgram, leavesOf, lossOf, print, run, shrink, withDefaults } from "../tensor/random-programs.ts";
import { bitsOf } from "./bits.ts";

const count = Number(process.env.LANGEVIN_PLANS ?? (cudaOnHost ? 120 : 400));

/** Of each four programs two return all values, which so are kept, and two are not fused. */
const returnsAll = ({ seed }: Program): boolean => seed % 2 === 0;
const fuses = ({ seed }: Program): boolean => seed % 4 < 2;

/** The loss of a program, the gradients of its leaves, and all of its values. */
function compute(program: Program, inputs: readonly Tensor[]): Record<string, Tensor> {
  const leaves = inputs.map((input) => input.detach().requireGrad());
  const values = run(program, leaves);
  const loss = lossOf(program, values);
  loss.backward();
  const gradients = leaves.flatMap((leaf, i) => (leaf.grad ? [[`gradient ${i}`, leaf.grad.clone()] as const] : []));
  const all = returnsAll(program) ? Object.fromEntries([...values].slice(leaves.length)) : {};
  return { ...all, loss, ...Object.fromEntries(gradients) };
}

/** The bits of all values of two calls, eager ones or those of a plan. */
function twoCalls(program: Program, inputs: readonly Tensor[], options?: CaptureOptions): Record<string, string>[] {
  manualSeed(program.seed);
  if (!options) return [0, 1].map(() => scope(() => bitsOf(compute(program, inputs))));
  const captured = capture((...given: Tensor[]) => compute(program, given), options);
  try {
    return [0, 1].map(() => scope(() => bitsOf(captured(...inputs))));
  } finally {
    captured.dispose();
  }
}

/** What a plan gets wrong, beside another way to compute the same; undefined if nothing. */
function fault(program: Program, plan: CaptureOptions, other?: CaptureOptions): string | undefined {
  const inputs = leavesOf(program).map((leaf) => leaf.detach());
  try {
    const expected = twoCalls(program, inputs, other);
    for (const [call, got] of twoCalls(program, inputs, plan).entries())
      for (const [name, bits] of Object.entries(expected[call]))
        if (got[name] !== bits)
          return `call ${call}: ${name} differs: ${bits.slice(0, 60)} and ${got[name].slice(0, 60)}`;
    return undefined;
  } catch (error) {
    return String(error);
  } finally {
    for (const input of inputs) input.dispose();
  }
}

/** Fails with the smallest program in which there is a fault. */
function expectNone(programs: readonly Program[], faultOf: (program: Program) => string | undefined): void {
  const failing = programs.find((program) => faultOf(program) !== undefined);
  if (!failing) return;
  const smallest = shrink(failing, (program) => faultOf(program) !== undefined);
  expect.fail(`${faultOf(smallest)}\n${print(smallest)}`);
}

describe(`${count} random programs as plans`, function () {
  this.timeout(120_000 + 1000 * count);
  let programs: Program[];
  before(() => {
    programs = Array.from({ length: count }, (_, i) => drawProgram(i + 1, 2 + (i % 16)));
  });

  const settings = cudaOnHost
    ? ([["cuda", "float32"]] as const)
    : ([
        ["ts", "float32"],
        ["ts", "float64"],
        ["cpu", "float32"],
      ] as const);
  for (const [device, dtype] of settings)
    (device === "cpu" && !cpuIsBuilt ? it.skip : it)(`give eager's bits in ${dtype} on ${device}`, () => {
      expectNone(programs, (program) =>
        withDefaults(device, dtype, () => fault(program, { poison: true, fuse: fuses(program) })),
      );
    });

  if (cudaOnHost)
    it("give in bf16 the same bits whether factors are rounded before or by each product", () => {
      const precision = "bf16";
      expectNone(programs, (program) =>
        withDefaults("cuda", "float32", () =>
          fault(program, { precision, poison: fuses(program) }, { precision, fuse: false }),
        ),
      );
    });
});
