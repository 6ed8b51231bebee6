// The kernels of the `ts` executor by the name of their op.

import type { AttributesOf, Op, ops } from "../../../ops/index.ts";
import type { Kernel } from "../view.ts";
import * as activations from "./activations.ts";
import * as arithmetic from "./arithmetic.ts";
import * as attention from "./attention.ts";
import * as conv from "./conv.ts";
import * as create from "./create.ts";
import * as cumulative from "./cumulative.ts";
import * as diffusion from "./diffusion.ts";
import * as dropout from "./dropout.ts";
import * as embedding from "./embedding.ts";
import * as functions from "./functions.ts";
import * as indexing from "./indexing.ts";
import * as linearCombination from "./linear-combination.ts";
import * as loss from "./loss.ts";
import * as matmul from "./matmul.ts";
import * as norm from "./norm.ts";
import * as pool from "./pool.ts";
import * as quantile from "./quantile.ts";
import * as reduce from "./reduce.ts";
import * as resize from "./resize.ts";
import * as selection from "./selection.ts";
import * as shape from "./shape.ts";
import * as softmax from "./softmax.ts";
import * as update from "./update.ts";

type Ops = typeof ops;
type KernelOf<O> = O extends Op<infer S> ? Kernel<AttributesOf<S>> : never;

/** Views need no kernel. */
type Table = { readonly [name in Exclude<keyof Ops, "reshape">]: KernelOf<Ops[name]> };

/** One kernel for each op that is no view: files here export kernels under the names of their ops, and nothing else. */
export const kernels: Table = {
  ...activations,
  ...arithmetic,
  ...attention,
  ...conv,
  ...create,
  ...cumulative,
  ...diffusion,
  ...dropout,
  ...embedding,
  ...functions,
  ...indexing,
  ...linearCombination,
  ...loss,
  ...matmul,
  ...norm,
  ...pool,
  ...quantile,
  ...reduce,
  ...resize,
  ...selection,
  ...shape,
  ...softmax,
  ...update,
};
