// What a rule is: how one command of ours becomes nodes of ONNX.

import type { AttributesOf, Op } from "../../ops/index.ts";
import type { ops } from "../../ops/index.ts";
import { ExportError } from "../../errors/index.ts";
import type { OnnxGraph, OnnxValue } from "./graph.ts";
import type { Size } from "./size.ts";

/** Attributes of an op as they were recorded: numbers in lists may grow with the batch. */
export type RecordedAttributes<O> =
  O extends Op<infer S>
    ? { readonly [K in keyof S]: S[K] extends "ints" ? readonly Size[] : AttributesOf<S>[K] }
    : never;

/** A command to be translated: its operands, its attributes, and the type of its result. */
export interface Call<A> {
  readonly inputs: readonly (OnnxValue | undefined)[];
  readonly attributes: A;
  readonly shape: readonly Size[];
  readonly dtype: "float32" | "int32";
}

/** Adds the nodes of a command, and tells which value is its result. */
export type Rule<A> = (graph: OnnxGraph, call: Call<A>) => OnnxValue;

/** A rule whose op is not known statically. */
export type AnyRule = Rule<Record<string, unknown>>;

/** Rules by the name of their op. */
export type Rules = { readonly [K in keyof typeof ops]?: Rule<RecordedAttributes<(typeof ops)[K]>> };

/** Sizes or positions that ONNX wants fixed in the file. */
export function fixed(op: string, name: string, sizes: readonly Size[]): number[] {
  return sizes.map((size) => {
    if (typeof size === "number") return size;
    throw new ExportError({
      op,
      problem: `its ${name} depends on the size of the batch, which ONNX does not allow.`,
      advice: "Give the batch as a number in the shapes of the inputs.",
    });
  });
}

/** The same for one size. */
export function fixedSize(op: string, name: string, size: Size): number {
  return fixed(op, name, [size])[0];
}

/** The places among the stored axes of some of our axes, which may count from the end. */
export function storedAxes({ order, shape }: OnnxValue, axes: readonly number[]): number[] {
  return axes.map((axis) => order.indexOf(axis < 0 ? axis + shape.length : axis));
}
