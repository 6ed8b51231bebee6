// The golden cases as tests: on every executor in float32, and on ts in float64 against the float64 references.

import { relative, resolve } from "node:path";
import { setDefaultDType } from "langevin";
import { findSidecars, readDataSet } from "./golden-suite/data-set.ts";
import type { Setting } from "./golden-suite/suite.ts";
import { enterSetting, runCase } from "./golden-suite/suite.ts";
import { cpuIsBuilt } from "./tensor/devices.ts";

const dir = resolve(import.meta.dirname, "golden");
const settings = [
  ["ts", "float64"],
  ["ts", "float32"],
  ["cpu", "float32"],
] as const;

for (const [device, dtype] of settings)
  describe(`golden data on ${device} in ${dtype}`, () => {
    let setting: Setting;
    before(function () {
      if (device === "cpu" && !cpuIsBuilt) this.skip();
      setting = enterSetting(device, dtype);
    });
    after(() => {
      setDefaultDType("float32");
    });
    for (const path of findSidecars(dir)) {
      const data = readDataSet(path);
      for (const given of data.cases)
        it(`${relative(dir, path)} ${given.name}`, async function () {
          const outcome = await runCase(data, given, setting);
          if (outcome.status === "failed") throw new Error(outcome.problem);
          if (outcome.status === "skipped") this.skip();
        });
    }
  });
