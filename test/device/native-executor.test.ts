// The executors of the addon: order, copies, memory, errors, threads, and how processes and workers with queued work end.

import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { expect } from "chai";

import type { Command, Operand } from "../../ts/device/executor.ts";
import { dense } from "../../ts/device/executor.ts";
import { addonCandidates, loadAddon, loadAddonFrom, packageRoot } from "../../ts/device/native/addon.ts";
import { CpuExecutor, threadsFromEnvironment } from "../../ts/device/native/cpu-executor.ts";
import type { NativeExecutor } from "../../ts/device/native/native-executor.ts";
import { ArgumentError, DeviceError } from "../../ts/errors/index.ts";
import type { AnyAttributes, Sample, TensorType } from "../../ts/ops/index.ts";
import { opList, ops } from "../../ts/ops/index.ts";
import { failure, rejection } from "../failure.ts";
import { cpuIsBuilt } from "../tensor/devices.ts";
import { native } from "./native-devices.ts";
import { inFolder } from "./native-programs.ts";

function fill(output: Operand, value: number): Command {
  const attributes = { shape: output.shape, dtype: output.dtype, value };
  return { op: ops.fill, attributes, inputs: [], output };
}

/** Fills the first n elements of a buffer. */
function fillFirst(executor: NativeExecutor, buffer: number, n: number, value: number): void {
  executor.submit([fill(dense(buffer, 0, [n], "float32"), value)]);
}

function readFirst(executor: NativeExecutor, buffer: number, n: number): number[] {
  const target = new Float32Array(n);
  executor.readSync(buffer, 0, target);
  return Array.from(target);
}

/** Where nothing was compiled there is nothing to test; an addon that was compiled badly must fail, not skip. */
const whereBuilt = native.isBuilt ? describe : describe.skip;
/** What is of the device `cpu` alone. */
const whereCpu = cpuIsBuilt && native.name === "cpu" ? describe : describe.skip;

whereBuilt(`executor ${native.name}`, () => {
  let executor: NativeExecutor;
  before(() => {
    executor = native.open();
  });

  it("has a name, threads, and computes in float32 and int32", () => {
    expect(executor.name).to.equal(native.name);
    expect(executor.threads).to.equal(native.name === "cuda" ? 1 : 2);
    expect(["float32", "int32", "float64"].map((dtype) => executor.supports(dtype as "float32"))).to.deep.equal([
      true,
      true,
      false,
    ]);
  });

  it("runs commands, writes and reads in their order", async () => {
    const n = 100_000;
    const buffer = executor.allocate(4 * n);
    const seen: Promise<number>[] = [];
    const source = new Float32Array(n);
    for (let i = 0; i < 40; i++) {
      if (i % 3 === 2) executor.write(buffer, 0, source.fill(i));
      else fillFirst(executor, buffer, n, i);
      const target = new Float32Array(n);
      seen.push(executor.read(buffer, 0, target).then(() => (target.every((x) => x === target[0]) ? target[0] : NaN)));
    }
    // The source of a write may be reused at once.
    source.fill(-1);
    expect(await Promise.all(seen)).to.deep.equal(Array.from({ length: 40 }, (_, i) => i));
    executor.release(buffer);
  });

  it("takes many commands in one list", () => {
    const buffer = executor.allocate(4 * 1000);
    executor.submit(Array.from({ length: 1000 }, (_, i) => fill(dense(buffer, i, [1], "float32"), i)));
    expect(readFirst(executor, buffer, 1000)).to.deep.equal(Array.from({ length: 1000 }, (_, i) => i));
    executor.release(buffer);
  });

  it("writes rows at their pitch and nothing between them", () => {
    const buffer = executor.allocate(4 * 64);
    executor.write(buffer, 0, new Float32Array(64).fill(-7));
    const rows: Operand = { buffer, offset: 2, shape: [2, 5, 3], pitch: 6, dtype: "float32" };
    executor.submit([fill(rows, 4)]);
    const expected = Array.from({ length: 64 }, (_, i) => (i >= 2 && i < 62 && (i - 2) % 6 < 3 ? 4 : -7));
    expect(readFirst(executor, buffer, 64)).to.deep.equal(expected);
    executor.release(buffer);
  });

  it("reads and writes parts, of any element type", () => {
    const buffer = executor.allocate(64);
    executor.write(buffer, 0, new Float64Array(8).fill(0));
    executor.write(buffer, 8, Int32Array.of(5, -6));
    executor.write(buffer, 16, Float64Array.of(Math.PI));
    const [ints, doubles] = [new Int32Array(2), new Float64Array(2)];
    executor.readSync(buffer, 8, ints);
    executor.readSync(buffer, 16, doubles);
    expect([...ints, ...doubles]).to.deep.equal([5, -6, Math.PI, 0]);
    executor.release(buffer);
  });

  it("takes empty buffers, operands and copies", async () => {
    const buffer = executor.allocate(0);
    executor.submit([fill(dense(buffer, 0, [0, 3], "float32"), 1)]);
    executor.write(buffer, 0, new Float32Array(0));
    await executor.read(buffer, 0, new Float32Array(0));
    executor.release(buffer);
  });

  describe("memory", () => {
    it("is counted, and used again after a release", () => {
      const fresh = native.open();
      expect(fresh.memory()).to.deep.equal({ liveBuffers: 0, liveBytes: 0, reservedBytes: 0 });
      const ids = new Set<number>();
      let reserved = 0;
      for (let step = 0; step < 1000; step++) {
        const buffers = [400, 4000, 400_000].map((bytes) => fresh.allocate(bytes));
        for (const id of buffers) {
          fillFirst(fresh, id, 100, step);
          ids.add(id);
        }
        expect(fresh.memory().liveBytes).to.equal(404_400);
        if (step === 0) reserved = fresh.memory().reservedBytes;
        for (const id of buffers) fresh.release(id);
      }
      expect(ids.size, "numbers of buffers are never reused").to.equal(3000);
      expect(fresh.memory()).to.deep.equal({ liveBuffers: 0, liveBytes: 0, reservedBytes: reserved });
    });

    it("released while commands on it are queued serves those first", async () => {
      const n = 1_000_000;
      const first = executor.allocate(4 * n);
      const target = new Float32Array(n);
      for (let i = 0; i < 20; i++) fillFirst(executor, first, n, i);
      const read = executor.read(first, 0, target);
      executor.release(first);
      const second = executor.allocate(4 * n);
      fillFirst(executor, second, n, -1);
      await read;
      expect(target.every((x) => x === 19)).to.be.true;
      expect(readFirst(executor, second, 3)).to.deep.equal([-1, -1, -1]);
      executor.release(second);
    });

    it("that does not exist is a DeviceError", () => {
      const error = failure(() => executor.allocate(1e15));
      expect(error).to.be.instanceOf(DeviceError);
      expect(error.message).to.include("out of memory: 1000000000000000 bytes");
    });
  });

  describe("refuses", () => {
    const cases: [string, RegExp, (buffer: number) => void][] = [
      ["unknown buffers", /^fill: output: unknown buffer 12345/, () => fillFirst(executor, 12345, 1, 0)],
      [
        "operands beyond the buffer's end",
        /^fill: output: reaches byte 404 of a buffer of 400/,
        (b) => fillFirst(executor, b, 101, 0),
      ],
      ["offsets beyond it", /reaches byte 404/, (b) => executor.submit([fill(dense(b, 100, [1], "float32"), 0)])],
      [
        "shapes whose size overflows",
        /reaches byte/,
        (b) => executor.submit([fill(dense(b, 0, [2 ** 40, 2 ** 40, 2 ** 40], "float32"), 0)]),
      ],
      [
        "pitches below the row",
        /pitch 2 below the row's 3/,
        (b) => executor.submit([fill({ ...dense(b, 0, [2, 3], "float32"), pitch: 2 }, 0)]),
      ],
      [
        "rank 9",
        /a tensor of rank 9 exceeds rank 8/,
        (b) => executor.submit([fill(dense(b, 0, new Array<number>(9).fill(1), "float32"), 0)]),
      ],
      [
        "negative sizes",
        /bad size -1/,
        (b) => executor.submit([fill({ ...dense(b, 0, [-1], "float32"), pitch: 1 }, 0)]),
      ],
      ["releases of unknown buffers", /^release: release of unknown buffer 12345/, () => executor.release(12345)],
      [
        "writes beyond the end",
        /write of 8 bytes at 396 of a buffer of 400/,
        (b) => executor.write(b, 396, new Float64Array(1)),
      ],
      [
        "reads beyond the end",
        /read of 8 bytes at 396 of a buffer of 400/,
        (b) => executor.readSync(b, 396, new Float64Array(1)),
      ],
    ];
    for (const [name, message, run] of cases)
      it(`${name}, and works on`, () => {
        const buffer = executor.allocate(400);
        const error = failure(() => run(buffer));
        expect(error).to.be.instanceOf(DeviceError);
        expect(error.message).to.match(message);
        fillFirst(executor, buffer, 100, 3);
        expect(readFirst(executor, buffer, 100)[99]).to.equal(3);
        executor.release(buffer);
      });

    it("nothing of a list runs when a later command of it is refused", () => {
      const buffer = executor.allocate(4);
      fillFirst(executor, buffer, 1, 1);
      failure(() =>
        executor.submit([fill(dense(buffer, 0, [1], "float32"), 2), fill(dense(12345, 0, [1], "float32"), 2)]),
      );
      expect(readFirst(executor, buffer, 1)).to.deep.equal([1]);
      executor.release(buffer);
    });

    it("operands that are stored in 16 bits, of whatever op", async () => {
      const executor = native.open();
      const buffer = executor.allocate(1 << 20);
      for (const op of opList.filter((each) => !each.view)) {
        const [{ inputs, attributes }] = op.samples as readonly Sample<AnyAttributes>[];
        const types = inputs.map((input) => input && { dtype: "float32" as const, ...input });
        const result = op.infer(types, attributes);
        const place = ({ shape, dtype }: TensorType, i: number): Operand => dense(buffer, i << 14, shape, dtype);
        const all = [
          ...types.map((type, i) => type && place(type, i)),
          op.writes ? undefined : place(result, inputs.length),
        ];
        for (const [i, operand] of all.entries()) {
          if (!operand) continue;
          const operands = all.with(i, { ...operand, dtype: "bfloat16" });
          const command = { op, attributes, inputs: operands.slice(0, -1), output: operands.at(-1) };
          const refused = (async () => {
            executor.submit([command]);
            await executor.synchronize();
          })();
          expect(await rejection(refused), `${op.name}, operand ${i}`).to.be.instanceOf(DeviceError);
        }
      }
      executor.release(buffer);
    });

    it("malformed words", () => {
      const addon = native.addon();
      const device = native.name === "cuda" ? addon.openCuda() : addon.openDevice(1);
      const kernels = native.name === "cuda" ? addon.cudaKernels() : addon.kernels();
      const code = kernels.findIndex(({ name }) => name === "fill");
      const id = addon.allocate(device, 40);
      const good = [code, 15, 1, 0, 0, id, 0, 0, 10, 1, 10, 1, 10, 0, 2.5];
      const submit = (words: number[]) => addon.submit(device, Float64Array.from(words), words.length);
      submit(good);
      const damaged = (at: number, value: number) => good.map((word, i) => (i === at ? value : word));
      for (const [words, message] of [
        [good.slice(0, 3), "submit: the list ends within a header"],
        [good.slice(0, 14), "submit: length 15 is out of range"],
        [damaged(0, 1e6), "submit: op code 1000000 is out of range"],
        [damaged(0, NaN), "submit: op code nan is out of range"],
        [damaged(0, 0.5), "submit: op code 0.5 is out of range"],
        [damaged(1, 3), "submit: a length is below the header's"],
        [damaged(2, 2), "submit: output flag 2 is out of range"],
        [damaged(3, 1), "fill: bad dtype 10"],
        [damaged(4, 4), "fill: bad role 4"],
        [damaged(6, 4), "fill: bad dtype 4"],
        [damaged(7, -1), "fill: bad offset -1"],
        [damaged(9, 9), "fill: bad rank 9"],
        [damaged(11, 9), "fill: bad length of a list 9"],
        [damaged(13, 3), "fill: bad enumeration 3"],
        [[...damaged(1, 16), 0], "fill: 1 words too many"],
        [[...good.slice(0, 4), 3, 0, ...good.slice(5)].with(1, 16), "fill: joined to a command that takes no others"],
      ] as [number[], string][])
        expect(failure(() => submit(words)).message).to.include(message);
    });
  });

  whereCpu("threads", () => {
    it("do not change results", () => {
      const results = [1, 2, 5].map((threads) => {
        const with_ = new CpuExecutor({ threads });
        expect(with_.threads).to.equal(threads);
        const buffer = with_.allocate(4 * 300_000);
        const shape = [3, 100_000];
        const attributes = { shape, dtype: "float32", seed: 5n, draw: 1, image: 2, step: 3 } as const;
        with_.submit([{ op: ops.randn, attributes, inputs: [], output: dense(buffer, 0, shape, "float32") }]);
        const target = new Float32Array(300_000);
        with_.readSync(buffer, 0, target);
        return Buffer.from(target.buffer);
      });
      expect(results[1].equals(results[0]) && results[2].equals(results[0])).to.be.true;
    });

    it("are as many as processors, or as LANGEVIN_THREADS says", () => {
      expect(threadsFromEnvironment({})).to.equal(undefined);
      expect(threadsFromEnvironment({ LANGEVIN_THREADS: "" })).to.equal(undefined);
      expect(threadsFromEnvironment({ LANGEVIN_THREADS: "3" })).to.equal(3);
      for (const bad of ["0", "-1", "2.5", "many", "1e3", "4096"]) {
        const error = failure(() => threadsFromEnvironment({ LANGEVIN_THREADS: bad }));
        expect(error).to.be.instanceOf(ArgumentError);
        expect(error.message).to.include(`LANGEVIN_THREADS: is "${bad}"`);
      }
      expect(failure(() => new CpuExecutor({ threads: 0 }))).to.be.instanceOf(ArgumentError);
    });
  });

  it("rejects a read of what does not exist", async () => {
    const error = await rejection(executor.read(12345, 0, new Float32Array(1)));
    expect(error).to.be.instanceOf(DeviceError);
  });

  whereCpu("does not fit", () => {
    it("when the addon lacks a kernel", () => {
      const { addon } = loadAddon();
      const lacking = { ...addon, kernels: () => addon.kernels().filter(({ name }) => name !== "conv2d") };
      const error = failure(() => new CpuExecutor({ addon: lacking }));
      expect(error.message).to.include("conv2d has no kernel");
      expect(error, "another device would be taken instead").not.to.be.instanceOf(DeviceError);
    });
  });
});

whereCpu("LANGEVIN_ISA", () => {
  const run = (isa: string) => {
    const script = `console.log(require(${JSON.stringify(loadAddon().path)}).isa())`;
    return spawnSync(process.execPath, ["-e", script], {
      encoding: "utf8",
      env: { ...process.env, LANGEVIN_ISA: isa },
    });
  };

  it("forces an instruction set, if it exists", () => {
    expect(run("baseline").stdout).to.equal("baseline\n");
    expect(run("").stdout).to.equal(`${loadAddon().addon.isa()}\n`);
    const unknown = run("mmx");
    expect(unknown.status).to.not.equal(0);
    expect(unknown.stderr).to.include("LANGEVIN_ISA is 'mmx'; it may be one of: baseline");
  });
});

/** Runs a script in a process of its own, with the addon, a device and helpers at hand. */
function runScript(body: string): {
  status: number | null;
  signal: string | null;
  stdout: string;
  stderr: string;
  seconds: number;
} {
  const prelude = `
    const { Worker, isMainThread, parentPort } = require("node:worker_threads");
    const addon = require(${JSON.stringify(native.path())});
    const code = ${native.kernels}.findIndex((k) => k.name === "fill");
    const words = (id, n, value) => Float64Array.of(code, 15, 1, 0, 0, id, 0, 0, n, 1, n, 1, n, 0, value);
    const start = (n) => { const device = ${native.device}; return { device, id: addon.allocate(device, 4 * n) }; };
    // About a millisecond of work each.
    const work = ({ device, id }, times) => { for (let i = 0; i < times; i++) addon.submit(device, words(id, 1 << 21, i)); };
  `;
  const begin = performance.now();
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, ["-e", prelude + body], {
    encoding: "utf8",
    timeout: 60_000,
  });
  return { status, signal, stdout, stderr, seconds: (performance.now() - begin) / 1000 };
}

whereBuilt("processes with a device", function () {
  this.timeout(120_000);

  const expectEnd = (result: ReturnType<typeof runScript>, output: string) => {
    expect([result.status, result.signal], result.stderr).to.deep.equal([0, null]);
    expect(result.stdout).to.equal(output);
  };

  it("end by themselves when nothing is pending", () => {
    expectEnd(
      runScript(
        `const d = start(1 << 21); work(d, 1); addon.readSync(d.device, d.id, 0, new Float32Array(1)); console.log("end");`,
      ),
      "end\n",
    );
  });

  it("stay alive for a pending read", () => {
    const script = `
      const d = start(1 << 21); work(d, 100);
      const target = new Float32Array(1);
      addon.read(d.device, d.id, 0, target).then(() => console.log(target[0]));`;
    expectEnd(runScript(script), "99\n");
  });

  it("do not wait for work that nobody reads", () => {
    const result = runScript(`const d = start(1 << 21); work(d, 10000); console.log("end");`);
    expectEnd(result, "end\n");
    expect(result.seconds).to.be.below(5);
  });

  it("may exit in the middle of work with promises pending", () => {
    const script = `
      const d = start(1 << 21); work(d, 1000);
      for (let i = 0; i < 10; i++) { addon.read(d.device, d.id, 0, new Float32Array(8)); work(d, 10); addon.synchronize(d.device); }
      process.exit(0);`;
    expectEnd(runScript(script), "");
  });

  it("bear workers that are terminated in the middle of work, without leaks", () => {
    const script = `
      const body = \`
        const { parentPort } = require("node:worker_threads");
        const addon = require(\${JSON.stringify(${JSON.stringify(native.path())})});
        const code = ${native.kernels}.findIndex((k) => k.name === "fill");
        const n = 1 << 21, device = ${native.device}, id = addon.allocate(device, 4 * n);
        const words = Float64Array.of(code, 15, 1, 0, 0, id, 0, 0, n, 1, n, 1, n, 0, 1);
        for (let i = 0; i < 500; i++) addon.submit(device, words);
        addon.read(device, id, 0, new Float32Array(n));
        addon.synchronize(device);
        parentPort.postMessage("busy");
      \`;
      const once = () => new Promise((done) => {
        const worker = new Worker(body, { eval: true });
        worker.once("message", () => worker.terminate().then(done));
      });
      (async () => {
        for (let i = 0; i < 5; i++) await once();
        const before = process.memoryUsage.rss();
        for (let i = 0; i < 25; i++) await once();
        const grown = process.memoryUsage.rss() - before;
        console.log(grown < 60e6 ? "steady" : "grew by " + grown);
      })();`;
    expectEnd(runScript(script), "steady\n");
  });

  it("bear workers that are terminated in the middle of a call", () => {
    const script = `
      const body = \`
        const { parentPort } = require("node:worker_threads");
        const addon = require(\${JSON.stringify(${JSON.stringify(native.path())})});
        const device = ${native.device};
        parentPort.postMessage("busy");
        for (;;) {
          addon.memory(device);
          ${native.kernels};
          try { addon.release(device, 12345); } catch {}
        }
      \`;
      (async () => {
        for (let i = 0; i < 20; i++)
          await new Promise((done) => {
            const worker = new Worker(body, { eval: true });
            worker.once("message", () => setTimeout(() => worker.terminate().then(done), i % 4));
          });
        console.log("end");
      })();`;
    expectEnd(runScript(script), "end\n");
  });

  it("give each worker its own devices", () => {
    const script = `
      const body = \`
        const { parentPort, workerData } = require("node:worker_threads");
        const addon = require(\${JSON.stringify(${JSON.stringify(native.path())})});
        const code = ${native.kernels}.findIndex((k) => k.name === "fill");
        const device = ${native.device}, id = addon.allocate(device, 4000);
        for (let i = 0; i < 1000; i++) addon.submit(device, Float64Array.of(code, 15, 1, 0, 0, id, 0, 0, 1000, 1, 1000, 1, 1000, 0, workerData));
        const target = new Float32Array(1000);
        addon.read(device, id, 0, target).then(() => parentPort.postMessage([addon.memory(device).liveBuffers, target[999]]));
      \`;
      Promise.all([1, 2, 3].map((i) => new Promise((done) => new Worker(body, { eval: true, workerData: i }).once("message", done))))
        .then((all) => console.log(JSON.stringify(all)));`;
    expectEnd(runScript(script), "[[1,1],[1,2],[1,3]]\n");
  });

  it("load no native code by importing the package", function () {
    const script = `
      import("${join(packageRoot(), "ts", "index.ts")}").then(() => {
        process.report.excludeNetwork = true;
        console.log(process.report.getReport().sharedObjects.filter((path) => path.includes("langevin.node")).length);
      });`;
    const result = spawnSync(process.execPath, ["--import", "tsx", "-e", script], {
      encoding: "utf8",
      cwd: packageRoot(),
    });
    expect(result.stdout, result.stderr).to.equal("0\n");
  });
});

whereCpu("loadAddon", () => {
  /** A folder laid out like the package, with these files in it. */
  const inPackage = (files: Record<string, string>, use: (root: string) => void) =>
    inFolder((root) => {
      for (const [path, content] of Object.entries(files)) {
        mkdirSync(join(root, path, ".."), { recursive: true });
        if (content === "addon") copyFileSync(loadAddon().path, join(root, path));
        else writeFileSync(join(root, path), content);
      }
      use(root);
    });
  const prebuilt = `prebuilds/${process.platform}-${process.arch}/langevin.node`;

  (cpuIsBuilt ? it : it.skip)("takes what was built, else what was shipped", () => {
    inPackage({ "build/Release/langevin.node": "addon", [prebuilt]: "addon" }, (root) => {
      expect(loadAddonFrom(root)).to.include({ origin: "built", path: addonCandidates(root)[0].path });
    });
    inPackage({ "build/Release/langevin.node": "no library", [prebuilt]: "addon" }, (root) => {
      expect(loadAddonFrom(root)).to.include({ origin: "prebuilt", path: addonCandidates(root)[1].path });
    });
  });

  it("says what is wrong with a file that does not load", () => {
    inPackage({ "build/Release/langevin.node": "no library" }, (root) => {
      const error = failure(() => loadAddonFrom(root));
      expect(error).to.be.instanceOf(DeviceError);
      expect(error.message).to.match(/langevin\.node does not load: .+langevin build/);
    });
  });

  it("says why there is none", () => {
    inPackage({}, (root) => {
      expect(failure(() => loadAddonFrom(root)).message).to.include("it was never compiled here");
    });
    const attempts = [
      { how: "cmake", cuda: false, ok: false, seconds: 0, why: "CMake was not found" },
      { how: "gyp", cuda: false, ok: false, seconds: 3, why: "error: no room" },
    ];
    inPackage({ "build/record.json": JSON.stringify({ attempts, addon: null }) }, (root) => {
      const { message } = failure(() => loadAddonFrom(root));
      expect(message).to.include("its build failed (cmake: CMake was not found; gyp: error: no room)");
    });
  });
});
