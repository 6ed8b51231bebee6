// A sum of tensors, each times a coefficient.

import type { Kernel } from "../view.ts";
import { pathOf, walk } from "../walk.ts";

export const linearCombination: Kernel<object> = (y, [coefficients, ...terms]) => {
  const factors = terms.map((_, k) => coefficients!.data[coefficients!.offset + k]);
  walk(y.shape, [pathOf(y), ...terms.map((x) => pathOf(x!))], (n, at, step) => {
    for (let i = 0; i < n; i++) {
      let sum = 0;
      for (let k = 0; k < factors.length; k++) sum += factors[k] * terms[k]!.data[at[k + 1] + i * step[k + 1]];
      y.data[at[0] + i * step[0]] = sum;
    }
  });
};
