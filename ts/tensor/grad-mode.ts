// Whether operations are recorded for gradients.

import { expectFunction, refusePromise } from "./scope.ts";

let enabled = true;

/** Whether operations on tensors that require gradients are being recorded. */
export function gradEnabled(): boolean {
  return enabled;
}

/** Runs the synchronous `fn` without recording anything for gradients (PyTorch's `torch.no_grad`). */
export function noGrad<T>(fn: () => T): T {
  expectFunction("noGrad", fn);
  const before = enabled;
  enabled = false;
  try {
    const result = fn();
    refusePromise("noGrad", result);
    return result;
  } finally {
    enabled = before;
  }
}
