// The kernels of the `ts` executor by the name of their op.

import type { AttributesOf, Op, ops } from "../../../ops/index.ts";
import type { Kernel } from "../view.ts";
import * as arithmetic from "./arithmetic.ts";
import * as conv from "./conv.ts";
import * as create from "./create.ts";
import * as diffusion from "./diffusion.ts";
import * as embedding from "./embedding.ts";
import * as functions from "./functions.ts";
import * as loss from "./loss.ts";
import * as matmul from "./matmul.ts";
import * as pool from "./pool.ts";
import * as shape from "./shape.ts";
import * as update from "./update.ts";

type Ops = typeof ops;
type KernelOf<O> = O extends Op<infer S> ? Kernel<AttributesOf<S>> : never;

/** Views need no kernel. */
type Table = { readonly [name in Exclude<keyof Ops, "reshape">]: KernelOf<Ops[name]> };

/** One kernel for each op that is no view. */
export const kernels: Table = {
  fill: create.fill,
  randn: create.randn,
  rand: create.rand,
  randint: create.randint,
  broadcastTo: arithmetic.broadcastTo,
  sum: arithmetic.sum,
  mean: arithmetic.mean,
  neg: arithmetic.neg,
  add: arithmetic.add,
  sub: arithmetic.sub,
  mul: arithmetic.mul,
  div: arithmetic.div,
  copy: functions.copy,
  cast: functions.cast,
  sign: functions.sign,
  abs: functions.abs,
  square: functions.square,
  sqrt: functions.sqrt,
  exp: functions.exp,
  log: functions.log,
  relu: functions.relu,
  reluGradient: functions.reluGradient,
  sigmoid: functions.sigmoid,
  sigmoidGradient: functions.sigmoidGradient,
  tanh: functions.tanh,
  tanhGradient: functions.tanhGradient,
  silu: functions.silu,
  siluGradient: functions.siluGradient,
  permute: shape.permute,
  slice: shape.slice,
  sliceGradient: shape.sliceGradient,
  concat: shape.concat,
  matmul: matmul.matmul,
  conv2d: conv.conv2d,
  convTranspose2d: conv.convTranspose2d,
  conv2dWeightGradient: conv.conv2dWeightGradient,
  maxPool2d: pool.maxPool2d,
  maxPool2dGradient: pool.maxPool2dGradient,
  embedding: embedding.embedding,
  embeddingGradient: embedding.embeddingGradient,
  mseLoss: loss.mseLoss,
  mseLossGradient: loss.mseLossGradient,
  addNoise: diffusion.addNoise,
  ddpmStep: diffusion.ddpmStep,
  assign: update.assign,
  accumulate: update.accumulate,
  adam: update.adam,
};
