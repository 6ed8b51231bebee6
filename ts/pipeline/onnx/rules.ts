// The table of rules, one for each op that a file can hold, and the reasons why it cannot hold the others.

import type { AnyOp } from "../../ops/index.ts";
import { ops } from "../../ops/index.ts";
import type { AnyRule, Rules } from "./rule.ts";
import { attentionRules } from "./rules/attention.ts";
import { creationRules } from "./rules/creation.ts";
import { diffusionRules } from "./rules/diffusion.ts";
import { elementWiseRules } from "./rules/element-wise.ts";
import { imageRules } from "./rules/images.ts";
import { indexingRules } from "./rules/indexing.ts";
import { matmulRules } from "./rules/matmul.ts";
import { normRules } from "./rules/norm.ts";
import { reductionRules } from "./rules/reductions.ts";
import { shapeRules } from "./rules/shape.ts";

const rules: Rules = {
  ...attentionRules,
  ...creationRules,
  ...diffusionRules,
  ...elementWiseRules,
  ...imageRules,
  ...indexingRules,
  ...matmulRules,
  ...normRules,
  ...reductionRules,
  ...shapeRules,
};

/** Ops without a rule that never are commands: results that lie in memory which is there already, see `Translator`. */
export const views: readonly AnyOp[] = [ops.reshape, ops.row];

const noise = "it draws noise, and no other runtime draws the same";
const gradient = "it is part of a gradient, and a file computes forwards only";
const update = "it overwrites a tensor, and a file leaves everything as it is";

/** Why some ops cannot be exported, besides gradients and updates. */
const reasons: Readonly<Partial<Record<keyof typeof ops, string>>> = {
  randn: noise,
  rand: noise,
  randint: noise,
  dropout: noise,
};

/** The rule of an op, or, in words, why it has none; undefined where nobody has thought of it. */
export function ruleFor({ name, writes }: AnyOp): AnyRule | string | undefined {
  if (writes) return update;
  const rule = (rules as Readonly<Record<string, AnyRule | undefined>>)[name];
  const reason = (reasons as Readonly<Record<string, string | undefined>>)[name];
  return rule ?? reason ?? (name.endsWith("Gradient") ? gradient : undefined);
}
