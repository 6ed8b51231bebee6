// What is particular to device "cuda", on the host: bits of the cpu's, graphs and windows, faults that data raise, numbers
// that change, memory that is not there, launches that fail, and a context that breaks.

import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

import { expect } from "chai";

import type { Command, Operand, Program } from "../../ts/device/executor.ts";
import { dense } from "../../ts/device/executor.ts";
import { packageRoot } from "../../ts/device/native/addon.ts";
import { CpuExecutor } from "../../ts/device/native/cpu-executor.ts";
import { CudaExecutor, cudaRecords } from "../../ts/device/native/cuda-executor.ts";
import { DeviceError } from "../../ts/errors/index.ts";
import type { AnyOp } from "../../ts/ops/index.ts";
import { opList, ops } from "../../ts/ops/index.ts";
import { failure } from "../failure.ts";
import { drawCase } from "../ops/draw.ts";
import { layouts, runCase } from "../ops/run-op.ts";
import { firstDifference } from "../ops/tolerance.ts";
import { cpuIsBuilt } from "../tensor/devices.ts";

const whereBuilt = process.env.LANGEVIN_CUDA_ADDON
  ? describe
  : (title: string, _: unknown) => describe(title, () => it.skip("skipped: npm run test:cuda-host runs these"));

/** Ops whose kernels round as the cpu's do, besides those that are exact. */
const sameBits: readonly AnyOp[] = [
  ...[ops.add, ops.sub, ops.mul, ops.div, ops.square, ops.sqrt, ops.rsqrt, ops.reciprocal, ops.exp, ops.log],
  ...[ops.sigmoid, ops.sigmoidGradient, ops.tanh, ops.tanhGradient, ops.silu, ops.siluGradient],
  ...[ops.relu6Gradient, ops.leakyRelu, ops.leakyReluGradient, ops.clampGradient, ops.linearCombination],
  ...[ops.rand, ops.randn, ops.randint, ops.dropout, ops.addNoise, ops.ddpmStep, ops.mseLossGradient],
  ...[ops.accumulate, ops.ema, ops.adam, ops.sgd, ops.rmsprop, ops.avgPool2d, ops.avgPool2dGradient],
  ...[ops.maxPool2dGradient, ops.embeddingGradient, ops.scatterAdd],
];

function fill(output: Operand, value: number): Command {
  return { op: ops.fill, attributes: { shape: output.shape, dtype: output.dtype, value }, inputs: [], output };
}

function program(lists: Command[][], more: Partial<Program> = {}): Program {
  const steps = lists.map((_, list) => ({ list }));
  return { lists, steps, slots: [], reports: [], checkFinite: false, ...more };
}

const none = new Float64Array(0);

whereBuilt("device cuda on the host", () => {
  let executor: CudaExecutor;
  before(() => {
    executor = new CudaExecutor();
  });

  const place = (shape: readonly number[], dtype: "float32" | "int32" = "float32") =>
    dense(executor.allocate(4 * shape.reduce((a, b) => a * b, 1)), 0, shape, dtype);
  const read = ({ buffer, shape }: Operand) => {
    const target = new Float32Array(shape.reduce((a, b) => a * b, 1));
    executor.readSync(buffer, 0, target);
    return [...target];
  };

  describe("has the bits of cpu", function () {
    before(function () {
      if (!cpuIsBuilt) this.skip();
    });
    let cpu: CpuExecutor | undefined;
    for (const op of opList.filter((op) => !op.view && (op.exact || sameBits.includes(op))))
      it(op.name, () => {
        cpu ??= new CpuExecutor({ threads: 2 });
        for (const sample of op.samples)
          for (const layout of layouts) {
            const c = drawCase(op, sample, "float32");
            const expected = runCase(cpu, c, layout);
            runCase(executor, c, layout).forEach(({ elements }, i) =>
              expect(firstDifference(elements, expected[i].elements), `${sample.name}, ${layout.name}`).to.equal(
                undefined,
              ),
            );
          }
      });
  });

  it("has a kernel for each op, and names one that it has none for", () => {
    expect(executor.missing).to.deep.equal([]);
    const op: AnyOp = { ...ops.neg, name: "unheardOf" };
    const other = new CudaExecutor({ records: [...cudaRecords, op] });
    const error = failure(() => other.submit([{ op, attributes: {}, inputs: [], output: undefined }]));
    expect(error).to.be.instanceOf(DeviceError);
    expect(error.message).to.equal(
      'unheardOf: this op has no CUDA kernel yet, so that it does not run on device "cuda". Use device "cpu" or "ts".',
    );
  });

  it("names the dtypes that a launcher does not take", () => {
    const [a, b] = [place([2]), place([2], "int32")];
    executor.submit([{ op: ops.add, attributes: {}, inputs: [a, b], output: a }]);
    expect(failure(() => read(a)).message).to.equal("add: expected operands of one dtype, float32 or int32.");
    executor.submit([fill(a, 3)]);
    expect(read(a)).to.deep.equal([3, 3]);
  });

  it("copies more than its staging holds, both ways", () => {
    const n = 3 << 20;
    const buffer = executor.allocate(4 * n);
    const source = Float32Array.from({ length: n }, (_, i) => i % 65_537);
    executor.write(buffer, 0, source);
    source.fill(-1);
    const target = new Float32Array(n);
    executor.readSync(buffer, 0, target);
    expect(target.every((x, i) => x === i % 65_537)).to.equal(true);
    executor.release(buffer);
  });

  describe("programs", () => {
    it("of steps that are too long for one graph run list by list", async () => {
      const [sum, one] = [place([]), place([])];
      executor.submit([fill(sum, 0)]);
      const body: Command[] = [fill(one, 1), { op: ops.add, attributes: {}, inputs: [sum, one], output: sum }];
      const slots = [{ list: 1, places: [{ list: 1, command: 0, attribute: "value" }] }];
      const steps = [{ times: 1500, body: [{ list: 0 }, { list: 1 }] }];
      const id = executor.load(program([body, body], { steps, slots, reports: [sum] }));
      const reports = new Float64Array(2);
      const values = Float64Array.from({ length: 3000 }, (_, i) => (i < 1500 ? 2 : 3));
      const end = await executor.replay(id, { steps: 2, values, reports }).ended;
      expect(end).to.deep.equal({ steps: 2, lists: 6000 });
      expect([...reports]).to.deep.equal([1500 * 3, 1500 * 3 + 1500 * 4]);
      executor.unload(id);
    });

    it("stop within 32 steps", async () => {
      const buffer = place([1 << 12]);
      const id = executor.load(program([[fill(buffer, 1)]]));
      let told = 0;
      const replay = executor.replay(id, {
        steps: 100_000,
        values: none,
        onProgress: (steps) => {
          if (told === 0) replay.stop();
          told = steps;
        },
      });
      const end = await replay.ended;
      expect(end.steps).to.be.within(1, 99_999);
      expect(end.lists).to.equal(end.steps);
      executor.unload(id);
    });

    it("report what was computed anywhere in the step", async () => {
      const [first, ...others] = Array.from({ length: 6 }, () => place([]));
      const slots = [{ list: 0, places: [{ list: 0, command: 0, attribute: "value" }] }];
      const id = executor.load(program([[first, ...others].map((x) => fill(x, 0))], { slots, reports: [first] }));
      const values = Float64Array.from({ length: 40 }, (_, i) => i + 1);
      const reports = new Float64Array(40);
      await executor.replay(id, { steps: 40, values, reports }).ended;
      expect(reports).to.deep.equal(values);
      executor.unload(id);
    });

    it("refuse a number that changes where the kernel takes it as fixed", async () => {
      const x = place([2]);
      const clamp: Command = { op: ops.clamp, attributes: { min: 0, max: 1 }, inputs: [x], output: x };
      const slots = [{ list: 0, places: [{ list: 0, command: 0, attribute: "min" }] }];
      const id = executor.load(program([[clamp]], { slots }));
      const { failure: found } = await executor.replay(id, { steps: 1, values: Float64Array.of(1) }).ended;
      expect(found?.op).to.equal("clamp");
      expect(found?.problem).to.equal("a number of it changes from step to step that the CUDA kernel takes as fixed");
      executor.unload(id);
    });
  });

  describe("faults that data raise", () => {
    const problem = "the index is outside the table";
    let table: Operand, picked: Operand, kept: Operand, lists: Command[][];
    const slots = [{ list: 0, places: [{ list: 0, command: 1, attribute: "index" }] }];

    before(() => {
      [table, picked, kept] = [place([3, 2]), place([2]), place([2])];
      executor.write(table.buffer, 0, Float32Array.of(1, 2, 3, 4, 5, 6));
      executor.submit([fill(kept, 0)]);
      const row: Command = { op: ops.row, attributes: { index: 0 }, inputs: [table], output: picked };
      const assign: Command = { op: ops.assign, attributes: {}, inputs: [kept, picked], output: undefined };
      lists = [[fill(picked, -1), row], [assign]];
    });

    it("end a replay where they are, and what overwrites its operands leaves them as they were", async () => {
      const id = executor.load(program(lists, { slots, reports: [picked].map((r) => ({ ...r, shape: [] })) }));
      const reports = new Float64Array(50).fill(-1);
      const values = Float64Array.from({ length: 50 }, (_, i) => (i === 40 ? 3 : i % 3));
      const end = await executor.replay(id, { steps: 50, values, reports }).ended;
      expect(end).to.deep.equal({ steps: 40, lists: 80, failure: { op: "row", problem, list: 0, command: 1 } });
      expect(read(kept)).to.deep.equal([1, 2]);
      expect([...reports]).to.deep.equal(Array.from({ length: 50 }, (_, i) => (i < 40 ? 1 + 2 * (i % 3) : -1)));
      const again = await executor.replay(id, { steps: 1, values: Float64Array.of(2) }).ended;
      expect(again).to.deep.equal({ steps: 1, lists: 2 });
      expect(read(kept)).to.deep.equal([5, 6]);
      executor.unload(id);
    });

    it("stop what overwrites its operands behind them in a list, whatever that needs", async () => {
      const other = place([2]);
      const row: Command = { op: ops.row, attributes: { index: 0 }, inputs: [table], output: picked };
      const assign: Command = { op: ops.assign, attributes: {}, inputs: [kept, other], output: undefined };
      const places = [[{ list: 0, command: 0, attribute: "value" }], [{ list: 0, command: 1, attribute: "index" }]];
      const id = executor.load(
        program([[fill(other, 0), row, assign]], { slots: places.map((all) => ({ list: 0, places: all })) }),
      );
      for (let last = 1; last < 12; last++) {
        const values = Float64Array.from({ length: 2 * (last + 1) }, (_, i) =>
          i % 2 === 0 ? i / 2 + 1 : i === 2 * last + 1 ? 3 : 0,
        );
        const end = await executor.replay(id, { steps: last + 1, values }).ended;
        expect(end.steps).to.equal(last);
        expect(read(kept)).to.deep.equal([last, last]);
      }
      executor.unload(id);
    });

    it("stop nothing that stands before them in a list, and the first of them is told", async () => {
      const other = place([2]);
      const row = (index: number): Command => ({
        op: ops.row,
        attributes: { index },
        inputs: [table],
        output: place([2]),
      });
      const assign: Command = { op: ops.assign, attributes: {}, inputs: [kept, other], output: undefined };
      for (let value = 1; value < 12; value++) {
        executor.submit([fill(other, value), fill(kept, 0)]);
        const id = executor.load(program([[assign, row(0), row(7), row(8)]]));
        const { failure: found } = await executor.replay(id, { steps: 1, values: none }).ended;
        expect(found?.command).to.equal(2);
        expect(read(kept)).to.deep.equal([value, value]);
        executor.unload(id);
      }
    });

    it("of a run come up in the next read, the first of them", async () => {
      const id = executor.load(program(lists, { slots }));
      executor.run(id, Float64Array.of(1));
      executor.run(id, Float64Array.of(-1));
      executor.run(id, Float64Array.of(0));
      expect(failure(() => read(kept)).message).to.equal(`row: ${problem}.`);
      expect(read(kept)).to.deep.equal([1, 2]);
      await executor.synchronize();
      executor.unload(id);
    });

    it("of eager commands come up in the next read, once", () => {
      const row = (index: number): Command => ({ op: ops.row, attributes: { index }, inputs: [table], output: picked });
      executor.submit([row(9), fill(picked, 8)]);
      expect(failure(() => read(picked)).message).to.equal(`row: ${problem}.`);
      expect(read(picked)).to.deep.equal([8, 8]);
    });
  });
});

/** Runs a script with an executor on a device that has these faults (see native/cuda/host/runtime.h). */
function withFaults(faults: string, body: string): string {
  const url = (file: string) => JSON.stringify(pathToFileURL(join(packageRoot(), file)).href);
  const script = `
    import { CudaExecutor } from ${url("ts/device/native/cuda-executor.ts")};
    import { dense } from ${url("ts/device/executor.ts")};
    import { ops } from ${url("ts/ops/index.ts")};
    const say = async (call) => { try { await call(); console.log("fine"); } catch (error) { console.log(error.name + ": " + error.message); } };
    let e, x;
    const fill = () => ({ op: ops.fill, attributes: { shape: [4], dtype: "float32", value: 2 }, inputs: [], output: x });
    const open = () => { e = new CudaExecutor(); x = dense(e.allocate(16), 0, [4], "float32"); };
    const read = () => e.readSync(x.buffer, 0, new Float32Array(4));
    ${body}`;
  const { status, signal, stdout, stderr } = spawnSync(
    process.execPath,
    ["--import", "tsx", "--input-type=module", "-e", script],
    { cwd: packageRoot(), encoding: "utf8", timeout: 60_000, env: { ...process.env, LANGEVIN_CUDA_HOST: faults } },
  );
  expect([status, signal], stderr).to.deep.equal([0, null]);
  return stdout;
}

whereBuilt("device cuda with faults", () => {
  it("says what is in use and what is free when memory runs out, and works on", () => {
    const lines = withFaults(
      "memory=8388608",
      `open();
       await say(() => e.allocate(3 << 20));
       await say(() => e.allocate(6 << 20));
       e.submit([fill()]);
       await say(read);`,
    ).split("\n");
    expect(lines[0]).to.equal("fine");
    expect(lines[1]).to.match(
      /^DeviceError: allocate: out of memory: 6291456 bytes \(6\.0 MiB\) are not to be had; tensors hold 3\.0 MiB, 5\.0 MiB of 8\.0 MiB are free on the device\./,
    );
    expect(lines[2]).to.equal("fine");
  });

  it("names the op whose launch fails, and works on", () => {
    const said = withFaults(
      "launch=2",
      `open(); e.submit([fill(), fill()]); await say(read); e.submit([fill()]); await say(read);`,
    );
    expect(said).to.equal("DeviceError: fill: the launch: invalid configuration argument.\nfine\n");
  });

  it("tells a broken context once with all that is known, and then plainly; the process lives", () => {
    const lines = withFaults(
      "crash=2",
      `open();
       e.submit([fill(), fill(), fill()]);
       await say(() => e.synchronize());
       await say(read);
       await say(() => e.read(x.buffer, 0, new Float32Array(4)));
       e.submit([fill()]);
       await say(() => e.synchronize());
       await say(() => e.allocate(1 << 20));
       e.release(x.buffer);`,
    ).split("\n");
    expect(lines[0]).to.match(
      /^DeviceError: device "cuda": work on the device \(the last command was fill\): an illegal memory access/,
    );
    expect(lines[0]).to.include("CUDA_LAUNCH_BLOCKING=1");
    for (const line of lines.slice(1, 5))
      expect(line).to.match(/the CUDA context is broken since an earlier error .*; start a new process\.$/);
    expect(lines).to.have.length(6);
  });

  it("ends a replay with what broke it", () => {
    const said = withFaults(
      "crash=2",
      `open();
       const id = e.load({ lists: [[fill()]], steps: [{ list: 0 }], slots: [], reports: [], checkFinite: false });
       const end = await e.replay(id, { steps: 100, values: new Float64Array(0) }).ended;
       console.log(end.failure.op, end.failure.problem.includes("illegal memory access"));
       await say(read);`,
    );
    expect(said).to.match(/^device "cuda" true\nDeviceError: .*the CUDA context is broken/);
  });

  it("ends a replay whose next graph finds no memory once the graphs before it are done, and works on", () => {
    const said = withFaults(
      "graph=2",
      `open();
       const node = [{ times: 3000, body: [{ list: 0 }] }, { list: 1 }];
       const id = e.load({ lists: [[fill()], [fill()]], steps: node, slots: [], reports: [], checkFinite: false });
       const end = await e.replay(id, { steps: 1, values: new Float64Array(0) }).ended;
       console.log(end.failure.op, end.failure.problem);
       await say(read);`,
    );
    expect(said).to.equal('device "cuda" the instantiation of a graph: out of memory\nfine\n');
  });

  it("refuses a GPU that is too old, by name", () => {
    const said = withFaults("capability=70", `await say(open);`);
    expect(said).to.equal(
      'DeviceError: device "cuda": host stand-in has compute capability 7.0, expected at least 7.5; CUDA_VISIBLE_DEVICES chooses another GPU.\n',
    );
  });
});
