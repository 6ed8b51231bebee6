// Attention: one query after the other, its weights over all keys in double.

import { broadcastPath } from "../walk.ts";
import type { Path } from "../walk.ts";
import type { Kernel, View } from "../view.ts";

interface Attributes {
  readonly heads: number;
  readonly scale: number;
  readonly causal: boolean;
}

/** The sizes that all loops here share. */
interface Sizes {
  readonly batch: number;
  readonly heads: number;
  readonly queries: number;
  readonly keys: number;
  /** Channels of a head in q and k, and in v. */
  readonly depth: number;
  readonly width: number;
}

function sizesOf(q: View, k: View, v: View, heads: number): Sizes {
  const [batch, queries, channels] = q.shape;
  return { batch, heads, queries, keys: k.shape[1], depth: channels / heads, width: v.shape[2] / heads };
}

/** Where row `row` of a head's channels begins in [batch, length, heads * width]. */
function rowStart(x: View, batch: number, row: number, head: number, heads: number): number {
  return x.offset + (batch * x.shape[1] + row) * x.pitch + (head * x.shape[2]) / heads;
}

function dot(a: View["data"], a0: number, b: View["data"], b0: number, length: number): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += a[a0 + i] * b[b0 + i];
  return sum;
}

/** The weights of queries: softmax over the scores of their keys. */
class Weights {
  /** Of the query looked at last. */
  readonly values: Float64Array;
  readonly #q: View;
  readonly #k: View;
  readonly #mask: View | undefined;
  readonly #path: Path | undefined;
  readonly #attributes: Attributes;
  readonly #depth: number;

  constructor(q: View, k: View, mask: View | undefined, sizes: Sizes, attributes: Attributes) {
    const { batch, heads, queries, keys, depth } = sizes;
    this.values = new Float64Array(keys);
    this.#q = q;
    this.#k = k;
    this.#mask = mask;
    this.#path = mask && broadcastPath(mask, [batch, heads, queries, keys]);
    this.#attributes = attributes;
    this.#depth = depth;
  }

  /** Fills `values`; with zeros where the query may look nowhere. */
  of(batch: number, head: number, query: number): void {
    const { values } = this;
    const { heads, scale, causal } = this.#attributes;
    const q = this.#q;
    const k = this.#k;
    const start = rowStart(q, batch, query, head, heads);
    values.fill(-Infinity);
    const visible = causal ? Math.min(query + 1, values.length) : values.length;
    for (let key = 0; key < visible; key++)
      values[key] = scale * dot(q.data, start, k.data, rowStart(k, batch, key, head, heads), this.#depth);
    this.#applyMask(batch, head, query, visible);
    toSoftmax(values);
  }

  #applyMask(batch: number, head: number, query: number, visible: number): void {
    if (!this.#mask || !this.#path) return;
    const { values } = this;
    const { data, dtype } = this.#mask;
    const { offset, strides } = this.#path;
    const start = offset + batch * strides[0] + head * strides[1] + query * strides[2];
    for (let key = 0; key < visible; key++) {
      const entry = data[start + key * strides[3]];
      if (dtype !== "int32") values[key] += entry;
      else if (entry === 0) values[key] = -Infinity;
    }
  }
}

/** e^(x - max x), divided by the sum; zeros where all are -Infinity. */
function toSoftmax(x: Float64Array): void {
  let largest = -Infinity;
  for (const value of x) if (value > largest) largest = value;
  const reference = largest === -Infinity ? 0 : largest;
  let total = 0;
  for (let i = 0; i < x.length; i++) {
    x[i] = Math.exp(x[i] - reference);
    total += x[i];
  }
  if (total !== 0) for (let i = 0; i < x.length; i++) x[i] /= total;
}

export const attention: Kernel<Attributes> = (y, [q, k, v, mask], attributes) => {
  const sizes = sizesOf(q!, k!, v!, attributes.heads);
  const { batch, heads, queries, keys, width } = sizes;
  const weights = new Weights(q!, k!, mask, sizes, attributes);
  const row = new Float64Array(width);
  for (let n = 0; n < batch; n++)
    for (let head = 0; head < heads; head++)
      for (let query = 0; query < queries; query++) {
        weights.of(n, head, query);
        row.fill(0);
        for (let key = 0; key < keys; key++) {
          const weight = weights.values[key];
          if (weight === 0) continue;
          const from = rowStart(v!, n, key, head, heads);
          for (let i = 0; i < width; i++) row[i] += weight * v!.data[from + i];
        }
        y.data.set(row, rowStart(y, n, query, head, heads));
      }
};

export const attentionGradient: Kernel<Attributes> = (gradients, [q, k, v, dy, mask], attributes) => {
  const sizes = sizesOf(q!, k!, v!, attributes.heads);
  const { batch, heads, queries, keys, depth, width } = sizes;
  const weights = new Weights(q!, k!, mask, sizes, attributes);
  const sums = [q!, k!, v!].map((x) => new Float64Array(x.rows * x.cols));
  const [dq, dk, dv] = sums;
  const along = new Float64Array(keys);
  for (let n = 0; n < batch; n++)
    for (let head = 0; head < heads; head++)
      for (let query = 0; query < queries; query++) {
        weights.of(n, head, query);
        const fromQ = rowStart(q!, n, query, head, heads);
        const fromDy = rowStart(dy!, n, query, head, heads);
        // The gradient of softmax: dscore_j = weight_j (dweight_j - sum over i of weight_i dweight_i).
        let mean = 0;
        for (let key = 0; key < keys; key++) {
          if (weights.values[key] === 0) continue;
          along[key] = dot(dy!.data, fromDy, v!.data, rowStart(v!, n, key, head, heads), width);
          mean += weights.values[key] * along[key];
        }
        const toQ = ((n * queries + query) * heads + head) * depth;
        for (let key = 0; key < keys; key++) {
          const weight = weights.values[key];
          if (weight === 0) continue;
          const score = attributes.scale * weight * (along[key] - mean);
          const fromK = rowStart(k!, n, key, head, heads);
          const toK = ((n * keys + key) * heads + head) * depth;
          const toV = ((n * keys + key) * heads + head) * width;
          for (let i = 0; i < depth; i++) {
            dq[toQ + i] += score * k!.data[fromK + i];
            dk[toK + i] += score * q!.data[fromQ + i];
          }
          for (let i = 0; i < width; i++) dv[toV + i] += weight * dy!.data[fromDy + i];
        }
      }
  let to = gradients.offset;
  for (const part of sums) {
    gradients.data.set(part, to);
    to += part.length;
  }
};
