// Tensors in arrays and plain objects: what captured functions take and give, and what loops hand on.

import { ArgumentError, showValue } from "../errors/index.ts";
import { Tensor } from "./tensor.ts";

/** Tensors in arrays and plain objects, however deep. */
export type TensorTree = Tensor | undefined | readonly TensorTree[] | { readonly [name: string]: TensorTree };

/** Refuses what is no tensor and holds none. */
export function expectTree(op: string, value: unknown): void {
  if (value === undefined || value instanceof Tensor) return;
  if (typeof value === "object" && value !== null && (Array.isArray(value) || isPlain(value))) {
    for (const part of Object.values(value)) expectTree(op, part);
    return;
  }
  throw new ArgumentError({
    op,
    problem: `what goes in and out is tensors, in arrays and plain objects; this is ${showValue(value)}.`,
    advice: "Numbers that change are passed as tensors; those that do not, the function refers to.",
  });
}

const isPlain = (value: object): boolean => Object.getPrototypeOf(value) === Object.prototype;

/** The tensors of a tree in its order, repeated ones repeated. */
export function listTensors(tree: TensorTree | void): Tensor[] {
  if (tree === undefined) return [];
  if (tree instanceof Tensor) return [tree];
  return Object.values(tree as Record<string, TensorTree>).flatMap(listTensors);
}

/** The tensors of a tree, each once. */
export function tensorsIn(tree: TensorTree | void): Tensor[] {
  return [...new Set(listTensors(tree))];
}

/** The same tree with other tensors. */
export function mapTensors(tree: TensorTree | void, map: (tensor: Tensor) => Tensor): TensorTree | void {
  if (tree === undefined) return undefined;
  if (tree instanceof Tensor) return map(tree);
  if (Array.isArray(tree)) return tree.map((part: TensorTree) => mapTensors(part, map) as TensorTree);
  return Object.fromEntries(
    Object.entries(tree as Record<string, TensorTree>).map(([name, part]) => [
      name,
      mapTensors(part, map) as TensorTree,
    ]),
  );
}
