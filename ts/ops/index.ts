// The instruction set: the list of all op records.

import { add, broadcastTo, div, mean, mul, neg, reshape, sub, sum } from "./arithmetic.ts";
import { attention, attentionGradient } from "./attention.ts";
import { conv2d, conv2dWeightGradient, convTranspose2d } from "./conv.ts";
import { fill, rand, randint, randn } from "./create.ts";
import { cumprod, cumprodGradient, cumsum } from "./cumulative.ts";
import { addNoise, ddpmStep } from "./diffusion.ts";
import { dropout } from "./dropout.ts";
import { embedding, embeddingGradient } from "./embedding.ts";
import {
  abs,
  cast,
  copy,
  exp,
  log,
  relu,
  reluGradient,
  sigmoid,
  sigmoidGradient,
  sign,
  silu,
  siluGradient,
  sqrt,
  square,
  tanh,
  tanhGradient,
} from "./functions.ts";
import { gather, scatterAdd } from "./indexing.ts";
import { mseLoss, mseLossGradient } from "./loss.ts";
import { matmul } from "./matmul.ts";
import { maxPool2d, maxPool2dGradient } from "./pool.ts";
import { argmax, argmin, extremeGradient, logSumExp, max, min, norm, normGradient, variance } from "./reduce.ts";
import { concat, flip, permute, place, slice, triangle } from "./shape.ts";
import { logSoftmax, logSoftmaxGradient, softmax, softmaxGradient } from "./softmax.ts";
import type { AnyOp } from "./types.ts";
import { accumulate, adam, assign, rmsprop, sgd } from "./update.ts";

export * from "./types.ts";

/** Every op, in the order in which the instruction set lists them. */
export const ops = {
  fill,
  randn,
  rand,
  randint,
  reshape,
  broadcastTo,
  sum,
  mean,
  max,
  min,
  extremeGradient,
  argmax,
  argmin,
  variance,
  logSumExp,
  norm,
  normGradient,
  cumsum,
  cumprod,
  cumprodGradient,
  neg,
  add,
  sub,
  mul,
  div,
  copy,
  cast,
  sign,
  abs,
  square,
  sqrt,
  exp,
  log,
  relu,
  reluGradient,
  sigmoid,
  sigmoidGradient,
  tanh,
  tanhGradient,
  silu,
  siluGradient,
  softmax,
  softmaxGradient,
  logSoftmax,
  logSoftmaxGradient,
  permute,
  slice,
  place,
  flip,
  triangle,
  concat,
  matmul,
  attention,
  attentionGradient,
  conv2d,
  convTranspose2d,
  conv2dWeightGradient,
  maxPool2d,
  maxPool2dGradient,
  gather,
  scatterAdd,
  embedding,
  embeddingGradient,
  dropout,
  mseLoss,
  mseLossGradient,
  addNoise,
  ddpmStep,
  assign,
  accumulate,
  adam,
  sgd,
  rmsprop,
} as const;

/** The records as a list. */
export const opList: readonly AnyOp[] = Object.values(ops);
