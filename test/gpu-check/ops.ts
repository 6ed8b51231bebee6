// The noise and every op on device cuda against device cpu, in shapes and with values that no test has seen.

import type { AnyOp } from "../../ts/ops/index.ts";
import { opList, ops } from "../../ts/ops/index.ts";
import type { Case, Value } from "../ops/draw.ts";
import { generator } from "../ops/draw.ts";
import { evaluate, layouts, runCase } from "../ops/run-op.ts";
import { expectClose } from "../ops/tolerance.ts";
import { freshCase } from "./fresh-cases.ts";
import type { Part, Session } from "./session.ts";
import { WrongAnswer } from "./session.ts";

/** Values of each kind of noise that are hashed. */
const noiseSize = { full: 1_000_003, reduced: 4_099 };

/** FNV-1a of the bits of a value, as a hexadecimal number. */
function hashOf({ elements }: Value): string {
  let hash = 2166136261;
  for (const byte of new Uint8Array(elements.buffer, elements.byteOffset, elements.byteLength))
    hash = Math.imul(hash ^ byte, 16777619);
  return (hash >>> 0).toString(16).padStart(8, "0");
}

function noiseCases({ seed, reduced }: Session): [name: string, c: Case][] {
  const shape = [3, reduced ? noiseSize.reduced : noiseSize.full];
  const at = { shape, seed: BigInt(seed) << 33n, draw: 3, image: 5, step: 7 };
  return [
    ["normal", { op: ops.randn, inputs: [], attributes: { ...at, dtype: "float32" } }],
    ["uniform", { op: ops.rand, inputs: [], attributes: { ...at, dtype: "float32", low: -1, high: 3 } }],
    ["integer", { op: ops.randint, inputs: [], attributes: { ...at, low: 0, high: 1000 } }],
  ];
}

/** Normal and uniform numbers and integers have the CPU's bits. */
export const noiseHashes: Part = {
  name: "noise",
  title: "Noise: the same bits as on the CPU",
  async run(session) {
    for (const [name, c] of noiseCases(session))
      await session.attempt(`${name} noise`, () => {
        const [got, expected] = [session.cuda, session.cpu].map((executor) => hashOf(evaluate(executor, c)));
        if (got !== expected)
          throw new WrongAnswer(`${name} noise of seed ${session.seed} has hash ${got} on cuda and ${expected} on cpu`);
        session.say(`${name}: ${got}`);
      });
  },
};

/** Each of two executors may round as far from the truth as `expectClose` allows one to. */
const executors = 2;

/** Runs a case on both devices. */
function compare({ cuda, cpu }: Session, c: Case, layout: (typeof layouts)[number]): void {
  const expected = runCase(cpu, c);
  runCase(cuda, c, layout).forEach((value, i) => expectClose(c, value, expected[i], executors));
}

/** Runs a check of a case; what it throws becomes a wrong answer that names op and shapes. */
export function expectRight({ op, inputs }: Case, how: string, check: () => void): void {
  try {
    check();
  } catch (error) {
    const shapes = inputs.map((value) => (value ? `[${value.type.shape.join(",")}]` : "none")).join(" ");
    const problem = error instanceof Error ? error.message : String(error);
    throw new WrongAnswer(`${op.name} on ${shapes}, ${how}: ${problem}`, { cause: error });
  }
}

function checkOp(
  session: Session,
  op: AnyOp,
  random: () => number,
): { readonly cases: number; readonly fresh: number } {
  const count = { cases: 0, fresh: 0 };
  const samples = session.reduced ? op.samples.slice(0, 1) : op.samples;
  for (const sample of samples)
    for (const layout of layouts) {
      const { case: c, isNew } = freshCase(op, sample, random);
      expectRight(c, `${layout.name}, like sample "${sample.name}"`, () => compare(session, c, layout));
      count.cases++;
      if (isNew) count.fresh++;
    }
  return count;
}

/** Every op that has a CUDA kernel. */
export const opsAgainstCpu: Part = {
  name: "ops",
  title: "Ops against the CPU, on fresh odd shapes",
  async run(session) {
    const random = generator(session.seed);
    const checked = opList.filter((op) => !op.view && !session.cuda.missing.includes(op));
    const total = { cases: 0, fresh: 0 };
    for (const op of checked)
      await session.attempt(op.name, () => {
        const { cases, fresh } = checkOp(session, op, random);
        total.cases += cases;
        total.fresh += fresh;
      });
    session.say(
      `${checked.length} ops, ${total.cases} cases, ${total.fresh} of them in new shapes (seed ${session.seed})`,
    );
  },
};
