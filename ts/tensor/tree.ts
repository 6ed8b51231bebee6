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

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** The tensors of a tree by their path in it (`x`, `history.0`), in the order of the paths. */
export function tensorsByPath(tree: TensorTree | void): Map<string, Tensor> {
  const found: [string, Tensor][] = [];
  mapTensors(tree, (tensor, path) => {
    found.push([path, tensor]);
    return tensor;
  });
  return new Map(found.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** The tensors of a tree, each once. */
export function tensorsIn(tree: TensorTree | void): Tensor[] {
  if (tree === undefined) return [];
  if (tree instanceof Tensor) return [tree];
  return [...new Set(Object.values(tree as Record<string, TensorTree>).flatMap(tensorsIn))];
}

/** The same tree with other tensors, each chosen by the old one and its path. */
export function mapTensors(
  tree: TensorTree | void,
  map: (tensor: Tensor, path: string) => Tensor,
  path = "",
): TensorTree | void {
  if (tree === undefined) return undefined;
  if (tree instanceof Tensor) return map(tree, path);
  const inside = (name: string | number): string => (path === "" ? String(name) : `${path}.${name}`);
  if (Array.isArray(tree)) return tree.map((part: TensorTree, i) => mapTensors(part, map, inside(i)) as TensorTree);
  return Object.fromEntries(
    Object.entries(tree as Record<string, TensorTree>).map(([name, part]) => [
      name,
      mapTensors(part, map, inside(name)) as TensorTree,
    ]),
  );
}
