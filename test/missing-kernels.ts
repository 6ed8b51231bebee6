// Tests of device "cuda" that need an op whose kernel is still to be written: they are skipped, not failed, by that error.

import { DeviceError } from "../ts/errors/index.ts";

const isMissing = (error: unknown) => error instanceof DeviceError && error.message.includes("has no CUDA kernel yet");

/** Runs `tests`, which define tests, so that those are skipped which meet such an op. */
export function skippingMissingKernels(tests: () => void): void {
  const define = globalThis.it;
  const skipping = (title: string, body: Mocha.AsyncFunc): Mocha.Test =>
    define(title, async function () {
      try {
        await body.call(this);
      } catch (error) {
        if (isMissing(error)) this.skip();
        throw error;
      }
    });
  globalThis.it = Object.assign(skipping, define);
  try {
    tests();
  } finally {
    globalThis.it = define;
  }
}
