// Cases of an op in shapes that no sample of its record has: sizes of a sample made larger and odd, where the op's rule for
// shapes still takes them.

import type { AnyAttributes, AnyOp, SampleInput } from "../../ts/ops/index.ts";
import type { Case } from "../ops/draw.ts";
import { drawInput } from "../ops/draw.ts";

/** Sizes grow, so that indices drawn for the sample stay inside; by so much at most. */
const mostGrowth = 14;
/** Ways to change the sizes that are tried before a sample is taken as it is. */
const attempts = 12;

/** A case, and whether its shapes are new. */
export interface FreshCase {
  readonly case: Case;
  readonly isNew: boolean;
}

/** The sample with other values and, where the op allows it, in other shapes. */
export function freshCase(op: AnyOp, sample: AnyOp["samples"][number], random: () => number): FreshCase {
  const given = { inputs: sample.inputs, attributes: sample.attributes as AnyAttributes };
  for (let attempt = 0; attempt < attempts; attempt++) {
    const changed = withOtherSize(given, random, attempt % 2 === 0);
    if (changed && isAllowed(op, changed)) return { case: drawn(op, changed, random), isNew: true };
  }
  return { case: drawn(op, given, random), isNew: false };
}

interface Form {
  readonly inputs: readonly (SampleInput | undefined)[];
  readonly attributes: AnyAttributes;
}

/** One size, wherever it occurs in inputs (and `everywhere` also in lists among the attributes), becomes a larger odd one. */
function withOtherSize({ inputs, attributes }: Form, random: () => number, everywhere: boolean): Form | undefined {
  const sizes = [...new Set(inputs.flatMap((input) => input?.shape ?? []))].filter((size) => size > 1);
  if (sizes.length === 0) return undefined;
  const from = sizes[Math.floor(random() * sizes.length)];
  const to = from + 2 * Math.ceil((random() * mostGrowth) / 2) - (from % 2 === 0 ? 1 : 0);
  const replaced = (list: readonly number[]): number[] => list.map((size) => (size === from ? to : size));
  return {
    inputs: inputs.map((input) => input && { ...input, shape: replaced(input.shape) }),
    attributes: everywhere
      ? Object.fromEntries(
          Object.entries(attributes).map(([name, value]) => [name, Array.isArray(value) ? replaced(value) : value]),
        )
      : attributes,
  };
}

/** Whether the op's rule takes these shapes. A form whose operands it refuses is no case. */
function isAllowed(op: AnyOp, { inputs, attributes }: Form): boolean {
  const types = inputs.map((input) => input && { shape: input.shape, dtype: input.dtype ?? ("float32" as const) });
  try {
    return op.infer(types, attributes).shape.every((size) => size > 0);
  } catch {
    return false;
  }
}

function drawn(op: AnyOp, { inputs, attributes }: Form, random: () => number): Case {
  return { op, inputs: inputs.map((input) => input && drawInput(input, random)), attributes };
}
