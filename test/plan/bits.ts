// Values as text of their bits, to be compared exactly: NaN equals NaN of the same bits, and 0 differs from -0.

import type { Tensor } from "langevin";

/** The bits of each tensor, as hexadecimal digits after shape and dtype. Blocks until they are computed. */
export function bitsOf(values: Readonly<Record<string, Tensor>>): Record<string, string> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, bits(value)]));
}

/** The bits of one tensor. */
export function bits(value: Tensor): string {
  const elements = value.elements("bits");
  const bytes = Buffer.from(elements.buffer, elements.byteOffset, elements.byteLength);
  return `${value.dtype} [${value.shape.join(", ")}] ${bytes.toString("hex")}`;
}
