// Errors of a part of a model say where the part is, also while the model is being built.

import { LangevinError } from "../errors/index.ts";

/** Makes a part of a model; an error on its way out collects `label`, as one that leaves a `forward` does. */
export function buildPart<T>(label: string, build: () => T): T {
  try {
    return build();
  } catch (error) {
    if (error instanceof LangevinError) error.enterModule(label);
    throw error;
  }
}

/** Makes `count` parts that a model holds as a list. */
export function buildParts<T>(label: string, count: number, build: (index: number) => T): T[] {
  const parts: T[] = [];
  for (let i = 0; i < count; i++) parts.push(buildPart(`${label}[${i}]`, () => build(i)));
  return parts;
}
