// What a recorded program becomes before it is laid out in memory: one rewrite after the other, none of which changes a bit.

import type { Precision } from "../../device/executor.ts";
import type { RecordedProgram } from "../recorded.ts";
import { joinColumns, splitColumns } from "./columns.ts";
import { computeLossWithGradient } from "./loss-with-gradient.ts";
import { runInParts } from "./parts.ts";
import { recompute } from "./recompute.ts";
import { roundFactors } from "./round-factors.ts";
import { shareTemporaries } from "./share-temporaries.ts";
import { takeOver } from "./take-over.ts";
import { writeToTargets } from "./write-to-targets.ts";

/** A change of a program that leaves its results as they are, to the bit. */
export interface Rewrite {
  readonly name: string;
  /** Whether `fuse: false` leaves it out: it changes what is computed in which pass, or from where it is read. */
  readonly fuses: boolean;
  /** The only precision that it is for; default: all. */
  readonly precision?: Precision;
  readonly apply: (program: RecordedProgram) => RecordedProgram;
}

/** All rewrites in the order in which they are applied; a new one is one entry. */
export const rewrites: readonly Rewrite[] = [
  // A loss and its gradient read prediction and target once.
  { name: "loss with gradient", fuses: true, apply: computeLossWithGradient },
  // Norms, activations and enlarged maps are computed again in backward instead of being kept.
  { name: "recompute", fuses: true, apply: recompute },
  // What would be copied to a target is computed there.
  { name: "write to targets", fuses: false, apply: writeToTargets },
  // Parts of a concatenation are computed as columns of it, and columns that are cut out are read in place.
  { name: "join columns", fuses: false, apply: joinColumns },
  { name: "split columns", fuses: true, apply: splitColumns },
  // Element-wise results take over an operand's memory.
  { name: "take over", fuses: false, apply: takeOver },
  // Activations, embeddings, residuals and noise follow part by part on what computes their operands.
  { name: "run in parts", fuses: true, apply: runInParts },
  // What is made and used in such parts alone lies in the same few places.
  { name: "share temporaries", fuses: true, apply: shareTemporaries },
  // What products round is rounded once. This one comes last: homes are for values of one element type.
  { name: "round factors", fuses: true, precision: "bf16", apply: roundFactors },
];

/** The program after all rewrites for a precision, or after those alone that fuse nothing. */
export function rewritten(program: RecordedProgram, fuse: boolean, precision: Precision = "float32"): RecordedProgram {
  return rewrites
    .filter((rewrite) => (fuse || !rewrite.fuses) && (rewrite.precision ?? precision) === precision)
    .reduce((current, { apply }) => apply(current), program);
}
