// The tape: what was applied to what, what backward needs of it, and the walk back. It holds values of any kind `V`.

import { CaptureError, GradientError } from "../errors/index.ts";
import { currentRecording, layerPath } from "./recording.ts";
import type { AnyAttributes, AnyOp, GradientContext, OpBuilder, TensorType } from "../ops/index.ts";

/** A value that the tape keeps alive until it lets go. */
export interface Kept {
  dispose(): void;
}

/** A value at the end of the graph that collects its gradient. */
export interface Leaf<V> {
  addGradient(gradient: V): void;
}

/** Where the gradient of an input goes: to the node that made it, or to a leaf. */
export type Edge<V> = TapeNode<V> | Leaf<V>;

let sequence = 0;

/** One recorded operation. Nodes count their holders: output tensors, later nodes, a walk in progress. */
export class TapeNode<V> {
  /** Order of recording; inputs always have smaller numbers. */
  readonly order = sequence++;
  readonly op: AnyOp;
  readonly attributes: AnyAttributes;
  readonly inputTypes: readonly (TensorType | undefined)[];
  readonly outputType: TensorType;
  readonly edges: readonly (Edge<V> | undefined)[];
  private keptInputs: ReadonlyMap<number, () => V> | undefined;
  private keptOutput: (() => V) | undefined;
  private readonly keptValues: readonly Kept[];
  /** Path of the layer that it was recorded in, while a plan is. */
  private readonly layer = currentRecording() && layerPath.ofForward();
  /** The recording that it was recorded in. */
  private readonly recording = currentRecording();
  private holders = 1;

  constructor(fields: {
    op: AnyOp;
    attributes: AnyAttributes;
    inputTypes: readonly (TensorType | undefined)[];
    outputType: TensorType;
    edges: readonly (Edge<V> | undefined)[];
    /** Read a kept value; they throw when it is stale. */
    keptInputs: ReadonlyMap<number, () => V>;
    keptOutput: (() => V) | undefined;
    keptValues: readonly Kept[];
  }) {
    this.op = fields.op;
    this.attributes = fields.attributes;
    this.inputTypes = fields.inputTypes;
    this.outputType = fields.outputType;
    this.edges = fields.edges;
    this.keptInputs = fields.keptInputs;
    this.keptOutput = fields.keptOutput;
    this.keptValues = fields.keptValues;
    for (const edge of this.edges) if (edge instanceof TapeNode) edge.retain();
  }

  retain(): void {
    this.holders++;
  }

  /** Lets go of one hold; a loop, because graphs can be deeper than the call stack. */
  release(): void {
    const released: TapeNode<V>[] = [this];
    for (let node = released.pop(); node; node = released.pop()) {
      if (--node.holders > 0) continue;
      node.free();
      for (const edge of node.edges) if (edge instanceof TapeNode) released.push(edge);
    }
  }

  /** Whether backward has walked over it. */
  get walked(): boolean {
    return this.keptInputs === undefined;
  }

  /** Refuses a walk in a captured function over what was computed outside, which the first step would free. */
  expectHere(): void {
    if (this.recording !== currentRecording())
      throw new CaptureError({
        op: "backward",
        problem: `the loss depends on the result of ${this.op.name} that was computed outside of the captured function.`,
        advice: "Compute it inside, or detach it.",
      });
  }

  /** Gives up what backward would need. */
  free(): void {
    if (!this.keptInputs) return;
    this.keptInputs = undefined;
    this.keptOutput = undefined;
    for (const value of this.keptValues) value.dispose();
  }

  /** Applies the op's gradient rule. */
  gradients(builder: OpBuilder<V>, gradient: V): (V | undefined)[] {
    const name = this.op.name;
    const { keptInputs, keptOutput } = this;
    if (!this.op.gradient)
      throw new GradientError({
        op: "backward",
        problem: `${name} has no gradient.`,
        advice: "Call it inside noGrad, or on detached tensors.",
      });
    if (!keptInputs)
      throw new GradientError({
        op: "backward",
        problem: `the values that ${name} kept were freed by an earlier backward.`,
        advice: "Compute the loss again; call backward once for each forward.",
      });
    const missing = (what: string): never => {
      throw new GradientError({
        op: "backward",
        problem: `the gradient of ${name} reads ${what}, which it does not keep.`,
      });
    };
    const context: GradientContext<V, AnyAttributes> = {
      attributes: this.attributes,
      inputTypes: this.inputTypes,
      outputType: this.outputType,
      gradient,
      input: (index) => (keptInputs.get(index) ?? (() => missing(`input ${index}`)))(),
      output: () => (keptOutput ?? (() => missing("its output")))(),
      needs: (index) => this.edges[index] !== undefined,
    };
    layerPath.ofBackward = this.layer;
    try {
      return this.op.gradient(builder, context);
    } finally {
      layerPath.ofBackward = undefined;
    }
  }
}

/** How the walk treats the gradients that it passes along. */
export interface Walk<V extends Kept> {
  readonly builder: OpBuilder<V>;
  /** Runs one node's rule and frees everything it makes. */
  scope(fn: () => void): void;
  add(a: V, b: V): V;
  /** Another handle to the same value, which the walk disposes itself. */
  share(value: V): V;
}

/** The nodes that `root` depends on, latest first. */
function nodesBelow<V>(root: TapeNode<V>): TapeNode<V>[] {
  const seen = new Set<TapeNode<V>>([root]);
  const stack = [root];
  for (let node = stack.pop(); node; node = stack.pop())
    for (const edge of node.edges)
      if (edge instanceof TapeNode && !seen.has(edge)) {
        seen.add(edge);
        stack.push(edge);
      }
  return [...seen].sort((a, b) => b.order - a.order);
}

/**
 * Walks back from `root`, whose output has the gradient `seed`, and adds gradients to the leaves. Gradients that meet
 * are added in the order of the walk, which is that of recording, reversed. Each node's kept values are freed as the
 * walk passes it.
 */
export function walkBack<V extends Kept>(root: TapeNode<V>, seed: V, walk: Walk<V>): void {
  const nodes = nodesBelow(root);
  for (const node of nodes) node.expectHere();
  const pending = new Map<TapeNode<V>, V>([[root, walk.share(seed)]]);
  const pass = (edge: TapeNode<V>, gradient: V): void => {
    const earlier = pending.get(edge);
    pending.set(edge, walk.share(earlier ? walk.add(earlier, gradient) : gradient));
    earlier?.dispose();
  };
  try {
    for (const node of nodes) {
      const gradient = pending.get(node);
      if (!gradient) continue;
      walk.scope(() => {
        const gradients = node.gradients(walk.builder, gradient);
        node.edges.forEach((edge, i) => {
          const passed = gradients[i];
          if (!edge || passed === undefined) return;
          if (edge instanceof TapeNode) pass(edge, passed);
          else edge.addGradient(passed);
        });
      });
      node.free();
      pending.delete(node);
      gradient.dispose();
    }
  } finally {
    for (const gradient of pending.values()) gradient.dispose();
  }
}
