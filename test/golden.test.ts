// The golden cases as tests: on every executor in float32, and on ts in float64 against the float64 references.

import { relative, resolve } from "node:path";
import { setDefaultDType } from "langevin";
import { findSidecars, readDataSet } from "./golden-suite/data-set.ts";
import type { Setting } from "./golden-suite/suite.ts";
import { enterSetting, runCase } from "./golden-suite/suite.ts";
import { cpuIsBuilt, cudaOnHost } from "./tensor/devices.ts";

const dir = resolve(import.meta.dirname, "golden");
const settings = cudaOnHost
  ? ([["cuda", "float32"]] as const)
  : ([
      ["ts", "float64"],
      ["ts", "float32"],
      ["cpu", "float32"],
    ] as const);
/** On CUDA kernels that run on the host, the tutorial's 50 steps of 128 images and its 1000 reverse steps would take minutes. */
const mostImages = cudaOnHost ? 300 : undefined;

for (const [device, dtype] of settings)
  describe(`golden data on ${device} in ${dtype}`, () => {
    let eager: Setting;
    before(function () {
      if (device === "cpu" && !cpuIsBuilt) this.skip();
      eager = enterSetting(device, dtype, { mostImages });
    });
    after(() => {
      setDefaultDType("float32");
    });
    const files = findSidecars(dir).map(readDataSet);
    const testCases = (setting: () => Setting, isLeftOut = (_path: string) => false): void => {
      for (const data of files.filter(({ path }) => !isLeftOut(path)))
        for (const given of data.cases)
          it(`${relative(dir, data.path)} ${given.name}`, async function () {
            const outcome = await runCase(data, given, setting());
            if (outcome.status === "failed") throw new Error(outcome.problem);
            if (outcome.status === "skipped") this.skip();
          });
    };

    testCases(() => eager);

    describe("as plans, with eager's bits", () => {
      let planned: Setting;
      before(() => {
        planned = enterSetting(device, dtype, { eager });
      });
      // These take most of the time, and are the same plans as in float32.
      const isLong = (path: string): boolean => dtype === "float64" && /part_c|cifar10/.test(path);
      testCases(() => planned, isLong);
    });
  });
