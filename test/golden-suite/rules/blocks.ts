// The blocks of golden/ops/blocks, written out in single operations.

import type { Rules } from "./rule.ts";

export const blockRules: Rules = {};
