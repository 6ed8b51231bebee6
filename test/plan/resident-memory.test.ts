// Resident memory of a process that replays a plan grows by what the plan announced before its first run.

import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect } from "chai";
import { packageRoot } from "../../ts/device/native/addon.ts";
import { cpuIsBuilt } from "../tensor/devices.ts";

const mebibyte = 2 ** 20;

interface Outcome {
  readonly bytes: number;
  readonly recorded: number;
  /** After one step, and after the last. */
  readonly grown: readonly [number, number];
}

/** A plan of steps on a batch of square images, and what it is to announce, in MiB. */
interface Case {
  readonly what: "train" | "sample";
  readonly device: "cpu" | "ts";
  readonly size: number;
  readonly batch: number;
  readonly steps: number;
  readonly expected: readonly [least: number, most: number];
}

async function run({ what, device, size, batch, steps }: Case): Promise<Outcome> {
  const program = join(import.meta.dirname, "resident-memory.ts");
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ["--expose-gc", "--import", "tsx", program, what, String(size), String(batch), String(steps)],
    { cwd: packageRoot(), env: { ...process.env, LANGEVIN_DEVICE: device } },
  );
  return JSON.parse(stdout) as Outcome;
}

describe("resident memory", () => {
  const cases: Case[] = [
    { what: "train", device: "cpu", size: 64, batch: 16, steps: 20, expected: [50, 60] },
    { what: "train", device: "cpu", size: 71, batch: 23, steps: 4, expected: [80, 110] },
    { what: "sample", device: "cpu", size: 96, batch: 40, steps: 2, expected: [90, 190] },
    { what: "train", device: "ts", size: 24, batch: 16, steps: 3, expected: [5, 10] },
  ];
  for (const each of cases) {
    const { what, device, size, batch, expected } = each;
    it(`grows as announced: ${what} on ${device}, ${batch} images of ${size}x${size}`, async function () {
      if (device === "cpu" && !cpuIsBuilt) return this.skip();
      this.retries(2); // on a busy machine the system takes pages back while they are counted
      const { bytes, recorded, grown } = await run(each);
      expect(bytes / mebibyte).to.be.within(...expected);
      const bound = Math.max(16 * mebibyte, bytes / 10);
      expect(recorded, "by recording alone").to.be.below(8 * mebibyte);
      for (const growth of grown) expect(growth).to.be.within(bytes - bound, bytes + bound);
    });
  }
});
