// Commands that run part by part: one after the other on each part of what they write.

import type { Alignment } from "../../ops/index.ts";
import { alignmentOf } from "../executor.ts";
import type { BoundCommand } from "./bound-command.ts";
import { execute } from "./bound-command.ts";
import type { View } from "./view.ts";

/** Elements of a part: what stays in a second-level cache with a few operands. */
const partElements = 16384;

/** One index of each axis before `axis`, a range of that one, and all of those that follow. */
interface Block {
  readonly axis: number;
  readonly index: readonly number[];
  readonly count: number;
}

/** Runs a command and those that are joined to it. */
export function executeInParts([head, ...joined]: readonly BoundCommand[]): void {
  const inParts = head.op.parts ? [head, ...joined] : joined;
  if (!head.op.parts) execute(head);
  const { shape } = head.target;
  for (const block of blocksOf(shape, inParts))
    for (const command of inParts) execute(cutCommand(command, block, shape));
}

/** Blocks of about `partElements` that cover a shape; of whole images where a command needs that. */
function* blocksOf(shape: readonly number[], commands: readonly BoundCommand[]): Generator<Block> {
  if (shape.includes(0)) return;
  const inner = shape.map((_, axis) => shape.slice(axis + 1).reduce((product, n) => product * n, 1));
  const wholeImages = commands.some(({ op }) => op.wholeImages);
  const axis = wholeImages
    ? 0
    : Math.max(
        0,
        inner.findIndex((elements) => elements <= partElements),
      );
  const sizes = shape.slice(0, axis);
  const size = shape.at(axis) ?? 1;
  const perBlock = Math.max(1, Math.floor(partElements / (inner.at(axis) ?? 1)));
  const outer = sizes.reduce((product, n) => product * n, 1);
  for (let k = 0; k < outer; k++) {
    const index = sizes.map((n, i) => Math.floor(k / sizes.slice(i + 1).reduce((product, m) => product * m, 1)) % n);
    for (let from = 0; from < size; from += perBlock)
      yield { axis, index: [...index, from], count: Math.min(perBlock, size - from) };
  }
}

function cutCommand(command: BoundCommand, block: Block, shape: readonly number[]): BoundCommand {
  const { op, target, inputs, attributes } = command;
  const cut = inputs.map((view, i) => view && cutView(view, alignmentOf(op, i), block, shape));
  const image = block.index[0];
  return {
    ...command,
    target: op.writes ? cut[op.writes[0]]! : cutView(target, "element", block, shape),
    inputs: cut,
    attributes: op.wholeImages ? { ...attributes, image: (attributes.image as number) + image } : attributes,
  };
}

/** The part of a view that belongs to a block of a result of this shape. */
function cutView(view: View, alignment: Alignment, { axis, index, count }: Block, shape: readonly number[]): View {
  if (alignment === "whole" || view.shape.length === 0) return view;
  const lead = alignment === "image" ? 0 : shape.length - view.shape.length;
  const last = alignment === "image" ? 0 : axis;
  const sizes = [...view.shape];
  let { offset } = view;
  for (let i = lead; i <= last; i++) {
    const own = i - lead;
    if (view.shape[own] === 1) continue;
    offset += index[i] * strideOf(view, own);
    sizes[own] = i === axis ? count : 1;
  }
  const cols = sizes.at(-1)!;
  const rows = sizes.slice(0, -1).reduce((product, n) => product * n, 1);
  return { ...view, offset, shape: sizes, cols, rows };
}

/** Distance between neighbours along an axis. */
function strideOf({ shape, pitch }: View, axis: number): number {
  if (axis === shape.length - 1) return 1;
  return shape.slice(axis + 1, -1).reduce((product, n) => product * n, pitch);
}
