// Programs on the executors of the addon: what a replay runs, reports, stops at and fails with, and how processes end beneath one.

import { spawnSync } from "node:child_process";

import { expect } from "chai";

import type { Command, Operand, Program, ReplayOptions } from "../../ts/device/executor.ts";
import { dense } from "../../ts/device/executor.ts";
import type { Addon } from "../../ts/device/native/addon.ts";
import type { NativeExecutor } from "../../ts/device/native/native-executor.ts";
import { DeviceError } from "../../ts/errors/index.ts";
import { ops } from "../../ts/ops/index.ts";
import { failure, rejection } from "../failure.ts";
import { native } from "./native-devices.ts";

const whereBuilt = native.isBuilt ? describe : describe.skip;

function fill(output: Operand, value: number): Command {
  const attributes = { shape: output.shape, dtype: output.dtype, value };
  return { op: ops.fill, attributes, inputs: [], output };
}

function binary(op: typeof ops.add, output: Operand, other: Operand): Command {
  return { op, attributes: {}, inputs: [output, other], output };
}

/** A program of the given lists that runs each of them once. */
function program(lists: Command[][], more: Partial<Program> = {}): Program {
  const steps = lists.map((_, list) => ({ list }));
  return { lists, steps, slots: [], reports: [], checkFinite: false, ...more };
}

const none = new Float64Array(0);

whereBuilt(`${native.name}, programs:`, () => {
  let executor: NativeExecutor;
  /** Int32 scalars. */
  let digits: Operand, ten: Operand, digit: Operand;
  /** Float32 scalars. */
  let sum: Operand, term: Operand;

  before(() => {
    executor = native.open();
    const scalar = (dtype: "int32" | "float32") => dense(executor.allocate(4), 0, [], dtype);
    [digits, ten, digit] = [scalar("int32"), scalar("int32"), scalar("int32")];
    [sum, term] = [scalar("float32"), scalar("float32")];
    executor.submit([fill(ten, 10)]);
  });

  beforeEach(() => {
    executor.submit([fill(digits, 0), fill(sum, 0)]);
  });

  /** Writes a digit behind the others. */
  const write = (value: number) => [fill(digit, value), binary(ops.mul, digits, ten), binary(ops.add, digits, digit)];
  const written = () => {
    const target = new Int32Array(1);
    executor.readSync(digits.buffer, 0, target);
    return target[0];
  };
  const once = async (what: Program, options: Partial<ReplayOptions> = {}) => {
    const id = executor.load(what);
    const end = await executor.replay(id, { steps: 1, values: none, ...options }).ended;
    executor.unload(id);
    return end;
  };
  /** One that takes some seconds if nobody stops it, in steps of some ten microseconds. */
  const endless = () => {
    const buffer = executor.allocate(4 << 15);
    return {
      buffer,
      program: program([[fill(dense(buffer, 0, [1 << 15], "float32"), 1), ...write(1)]]),
      steps: 200_000,
    };
  };

  it("run in order with what is submitted before and after", async () => {
    const id = executor.load(program([write(2), write(3)]));
    executor.submit(write(1));
    const { ended } = executor.replay(id, { steps: 2, values: none });
    executor.submit(write(4));
    executor.run(id, none);
    executor.submit(write(5));
    expect(await ended).to.deep.equal({ steps: 2, lists: 4 });
    expect(written()).to.equal(12323_4235);
    executor.unload(id);
  });

  it("repeat loops within loops", async () => {
    const steps = [
      { list: 0 },
      { times: 2, body: [{ list: 1 }, { times: 3, body: [{ list: 2 }] }, { times: 0, body: [{ list: 1 }] }] },
      { times: 5, body: [] },
    ];
    expect(await once(program([write(1), write(2), write(3)], { steps }))).to.deep.equal({ steps: 1, lists: 9 });
    expect(written()).to.equal(1_2333_2333);
  });

  it("take values for each run of a list, and put them into all their places", async () => {
    const place = (list: number) => ({ list, command: 0, attribute: "value" });
    const slots = [
      { list: 1, places: [place(0)] },
      { list: 0, places: [place(1), { list: 1, command: 3, attribute: "value" }] },
    ];
    const steps = [{ times: 2, body: [{ list: 0 }, { list: 1 }] }];
    const lists = [write(9), [...write(9), fill(term, 0), binary(ops.add, sum, term)]];
    await once(program(lists, { steps, slots }), { steps: 2, values: Float64Array.of(1, 2, 3, 4, 5, 6, 7, 8) });
    // List 0 runs with what list 1 was given last, and the other way round.
    expect(written()).to.equal(9123_4567 % 2 ** 31);
    const target = new Float32Array(1);
    executor.readSync(sum.buffer, 0, target);
    expect(target[0]).to.equal(1 + 3 + 5 + 7);
  });

  it("copy the values at once", async () => {
    const slots = [{ list: 0, places: [{ list: 0, command: 0, attribute: "value" }] }];
    const id = executor.load(program([write(0)], { slots }));
    const values = Float64Array.of(1, 2, 3);
    const { ended } = executor.replay(id, { steps: 3, values });
    values.fill(9);
    executor.run(id, values.subarray(2));
    await ended;
    expect(written()).to.equal(1239);
    executor.unload(id);
  });

  it("change numbers of noise", async () => {
    const output = dense(executor.allocate(4 * 8), 0, [8], "int32");
    const attributes = { shape: [8], seed: 3n, draw: 1, image: 0, step: 0, low: 0, high: 1000 };
    const command = { op: ops.randint, attributes, inputs: [], output };
    const slots = [{ list: 0, places: [{ list: 0, command: 0, attribute: "step" }] }];
    await once(program([[command]], { slots }), { steps: 2, values: Float64Array.of(7, 5) });
    const [replayed, eager] = [new Int32Array(8), new Int32Array(8)];
    executor.readSync(output.buffer, 0, replayed);
    executor.submit([{ ...command, attributes: { ...attributes, step: 5 } }]);
    executor.readSync(output.buffer, 0, eager);
    expect(replayed).to.deep.equal(eager);
  });

  it("run as one call, however many steps", async () => {
    const calls: string[] = [];
    const addon = Object.fromEntries(
      Object.entries<(...given: never[]) => unknown>({ ...native.addon() }).map(([name, call]) => [
        name,
        (...given: never[]) => {
          calls.push(name);
          return call(...given);
        },
      ]),
    ) as unknown as Addon;
    const counting = native.open({ addon });
    const one = dense(counting.allocate(4), 0, [], "int32");
    const id = counting.load(program([[fill(one, 1)]]));
    calls.length = 0;
    expect(await counting.replay(id, { steps: 1000, values: none }).ended).to.deep.equal({ steps: 1000, lists: 1000 });
    expect(calls).to.deep.equal(["replay"]);
  });

  describe("reports", () => {
    it("are there for each step that is told, in the same order, and all at the end", async () => {
      const steps = 2000;
      const slots = [{ list: 0, places: [{ list: 0, command: 0, attribute: "value" }] }];
      const lists = [[fill(term, 0), fill(digit, 1), binary(ops.add, sum, term), binary(ops.add, digits, digit)]];
      const id = executor.load(program(lists, { slots, reports: [sum, digits] }));
      const reports = new Float64Array(2 * steps).fill(NaN);
      const told: number[] = [];
      let ended = false;
      const replay = executor.replay(id, {
        steps,
        values: new Float64Array(steps).fill(0.5),
        reports,
        onProgress: (count) => {
          expect(ended).to.be.false;
          for (let k = told.at(-1) ?? 0; k < count; k++)
            expect([reports[2 * k], reports[2 * k + 1]]).to.deep.equal([(k + 1) / 2, k + 1]);
          told.push(count);
        },
      });
      const end = await replay.ended;
      ended = true;
      expect(end.steps).to.equal(steps);
      expect(told.at(-1)).to.equal(steps);
      expect(told.every((count, i) => count > (told[i - 1] ?? 0))).to.be.true;
      expect(reports.every((x, i) => x === (i % 2 === 0 ? (i / 2 + 1) / 2 : (i - 1) / 2 + 1))).to.be.true;
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(told.at(-1)).to.equal(steps);
      executor.unload(id);
    });

    it("may be left out", async () => {
      const what = program([write(1)], { reports: [digits] });
      expect(await once(what, { steps: 3 })).to.deep.equal({ steps: 3, lists: 3 });
      const told: number[] = [];
      await once(what, { steps: 3, onProgress: (count) => told.push(count) });
      expect(told.at(-1)).to.equal(3);
      expect(written()).to.equal(111_111);
    });

    it("are told on the event loop, which stays free", async () => {
      const { program: what, steps } = endless();
      const id = executor.load(what);
      let turns = 0;
      const timer = setInterval(() => turns++, 1);
      const replay = executor.replay(id, {
        steps,
        values: none,
        onProgress: (count) => {
          if (turns >= 5 && count >= 5) replay.stop();
        },
      });
      const end = await replay.ended;
      clearInterval(timer);
      expect(end.steps).to.be.within(5, steps - 1);
      executor.unload(id);
    });
  });

  describe("stop", () => {
    it("before their turn, without running", async () => {
      const { program: what, steps } = endless();
      const id = executor.load(what);
      const first = executor.replay(id, { steps, values: none });
      const second = executor.replay(id, { steps: 5, values: none, onProgress: () => expect.fail("nothing ran") });
      second.stop();
      first.stop();
      expect(await second.ended).to.deep.equal({ steps: 0, lists: 0 });
      expect((await first.ended).steps).to.be.below(steps);
      executor.unload(id);
    });

    it("in the middle, after which other work goes on", async () => {
      const { program: what, steps, buffer } = endless();
      const id = executor.load(what);
      const replay = executor.replay(id, { steps, values: none, onProgress: () => replay.stop() });
      executor.submit([fill(dense(buffer, 0, [1], "float32"), 5)]);
      const target = new Float32Array(1);
      const read = executor.read(buffer, 0, target);
      const end = await replay.ended;
      expect(end.steps).to.be.within(1, steps - 1);
      expect(end).to.deep.equal({ steps: end.steps, lists: end.steps });
      await read;
      expect(target[0]).to.equal(5);
      executor.unload(id);
    });

    it("after their end, without effect", async () => {
      const id = executor.load(program([write(1)]));
      const first = executor.replay(id, { steps: 1, values: none });
      await first.ended;
      const second = executor.replay(id, { steps: 3, values: none });
      first.stop();
      first.stop();
      expect((await second.ended).steps).to.equal(3);
      second.stop();
      executor.unload(id);
    });
  });

  describe("failures", () => {
    /** Adds a number of another element type. */
    const mismatch = () => binary(ops.add, sum, digit);
    const problem = "expected operands of one dtype, float32 or int32";

    it("end a replay at once, and name op, list and command", async () => {
      const reports = new Float64Array(4).fill(-1);
      const what = program([write(1), [...write(2), mismatch(), ...write(3)]], { reports: [digits] });
      const end = await once(what, { steps: 4, reports });
      // On cuda such a command cannot become part of the step's graph, of which nothing runs then.
      const lists = native.name === "cuda" ? 0 : 1;
      expect(end).to.deep.equal({ steps: 0, lists, failure: { op: "add", problem, list: 1, command: 3 } });
      expect(written()).to.equal(native.name === "cuda" ? 0 : 12);
      expect([...reports]).to.deep.equal([-1, -1, -1, -1]);
      await executor.synchronize();
    });

    it("of a run come up in the next read", async () => {
      const id = executor.load(program([write(1), [mismatch()], write(2)]));
      executor.run(id, none);
      const error = await rejection(executor.synchronize());
      expect(error).to.be.instanceOf(DeviceError);
      expect(error.message).to.equal(`add: ${problem}.`);
      expect(written(), "the rest of the step did not run").to.equal(native.name === "cuda" ? 0 : 1);
      executor.run(id, none);
      expect(failure(() => written()).message).to.include("add: expected");
      executor.unload(id);
    });

    it("are numbers that are not finite, where they are searched for", async () => {
      const output = dense(executor.allocate(4 * 256), 0, [4, 8, 8], "float32");
      const row = { ...output, offset: 2 * 64, shape: [1, 8], pitch: 8 };
      const half = { ...output, offset: 3, shape: [4, 8, 3], pitch: 8 };
      const copy: Command = { op: ops.add, attributes: {}, inputs: [output, output], output };
      for (const [value, name] of [
        [NaN, "NaN"],
        [Infinity, "Infinity"],
        [-Infinity, "-Infinity"],
      ] as const) {
        const slots = [{ list: 1, places: [{ list: 1, command: 0, attribute: "value" }] }];
        const lists = [[fill(output, 1)], [fill({ ...row, dtype: "float32" }, 1), copy]];
        const values = Float64Array.of(1, 3e38 / 2, value, 1);
        const search = program(lists, { slots, checkFinite: true });
        const end = await once(search, { steps: 4, values });
        expect(end).to.deep.equal({
          steps: 2,
          lists: 5,
          failure: {
            op: "fill",
            problem: `element [0, 0] of the result (shape [1, 8]) is ${name}`,
            list: 1,
            command: 0,
          },
        });
        const values2 = Float64Array.of(1, 3e38, 1, 1);
        expect((await once(search, { steps: 4, values: values2 })).failure).to.deep.equal({
          op: "add",
          problem: "element [2, 0, 0] of the result (shape [4, 8, 8]) is Infinity",
          list: 1,
          command: 1,
        });
        expect((await once({ ...search, checkFinite: false }, { steps: 4, values })).failure).to.equal(undefined);
      }
      executor.write(output.buffer, 0, new Float32Array(256).fill(NaN));
      expect((await once(program([[fill(half, 2)]], { checkFinite: true }))).failure, "gaps").to.equal(undefined);
      expect((await once(program([write(1)], { checkFinite: true }))).failure, "int32").to.equal(undefined);
    });
  });

  describe("are refused", () => {
    const place = { list: 0, command: 0, attribute: "value" };
    const cases: [string, RegExp, () => unknown][] = [
      [
        "with unknown buffers",
        /^fill: output: unknown buffer 12345/,
        () => executor.load(program([[fill(dense(12345, 0, [], "float32"), 1)]])),
      ],
      [
        "with operands beyond the end",
        /^fill: output: reaches byte 8 of a buffer of 4/,
        () => executor.load(program([[fill(dense(sum.buffer, 0, [2], "float32"), 1)]])),
      ],
      [
        "with a list that is not there",
        /^load: bad list of a step 1/,
        () => executor.load(program([write(1)], { steps: [{ list: 1 }] })),
      ],
      [
        "without a list for a step",
        /^load: bad list of a step: there is none/,
        () => executor.load(program([], { steps: [{ list: 0 }] })),
      ],
      [
        "with half a round",
        /^load: bad number of rounds 0.5/,
        () => executor.load(program([write(1)], { steps: [{ times: 0.5, body: [{ list: 0 }] }] })),
      ],
      [
        "with a slot of no list",
        /^load: bad list of a slot 7/,
        () => executor.load(program([write(1)], { slots: [{ list: 7, places: [] }] })),
      ],
      [
        "with a slot on no command",
        /^load: there is no command 9 in list 0/,
        () => executor.load(program([write(1)], { slots: [{ list: 0, places: [{ ...place, command: 9 }] }] })),
      ],
      [
        "with a slot on an unknown attribute",
        /^fill: a slot cannot change colour/,
        () => executor.load(program([write(1)], { slots: [{ list: 0, places: [{ ...place, attribute: "colour" }] }] })),
      ],
      [
        "with a slot on a list of sizes",
        /^fill: a slot cannot change shape/,
        () => executor.load(program([write(1)], { slots: [{ list: 0, places: [{ ...place, attribute: "shape" }] }] })),
      ],
      [
        "with a report that is no scalar",
        /^load: report 0 is no scalar/,
        () => executor.load(program([write(1)], { reports: [dense(sum.buffer, 0, [0], "float32")] })),
      ],
      [
        "when they are not loaded",
        /^replay: program 12345 does not exist/,
        () => executor.replay(12345, { steps: 1, values: none }),
      ],
      ["for a run when they are not loaded", /^run: program 12345 does not exist/, () => executor.run(12345, none)],
      ["when unloaded twice", /^unload: program 12345 does not exist/, () => executor.unload(12345)],
    ];
    for (const [name, message, run] of cases)
      it(`${name}`, () => {
        const error = failure(run);
        expect(error).to.be.instanceOf(DeviceError);
        expect(error.message).to.match(message);
      });

    it("with values, steps and reports that do not fit", () => {
      const slots = [{ list: 0, places: [place] }];
      const id = executor.load(
        program([write(1)], { slots, reports: [sum], steps: [{ times: 3, body: [{ list: 0 }] }] }),
      );
      const start = (steps: number, values: number, reports?: number) => () =>
        executor.replay(id, {
          steps,
          values: new Float64Array(values),
          reports: reports === undefined ? undefined : new Float64Array(reports),
        });
      for (const [run, message] of [
        [start(2, 5), "replay: values holds 5 numbers, expected 6: 3 for each of 2 steps."],
        [start(1, 0), "values holds 0 numbers, expected 3"],
        [start(0, 0), "replay: 0 is no number of steps, expected at least 1."],
        [start(1.5, 3), "replay: 1.5 is no number of steps"],
        [start(NaN, 3), "replay: nan is no number of steps"],
        [start(2, 6, 3), "replay: reports holds 3 numbers, expected 2: 1 for each of 2 steps."],
        [start(2, 6, 0), "reports holds 0 numbers"],
        [
          () => executor.run(id, new Float64Array(4)),
          "run: values holds 4 numbers, expected 3: 3 for each of 1 steps.",
        ],
      ] as const) {
        const error = failure(run);
        expect(error).to.be.instanceOf(DeviceError);
        expect(error.message).to.include(message);
      }
      expect(written(), "nothing ran").to.equal(0);
      executor.unload(id);
    });

    it("with values that are not whole for an attribute that is", () => {
      const output = dense(executor.allocate(4), 0, [1], "int32");
      const attributes = { shape: [1], seed: 3n, draw: 1, image: 0, step: 0, low: 0, high: 10 };
      const slots = [{ list: 1, places: [{ list: 0, command: 0, attribute: "step" }] }];
      const id = executor.load(program([[{ op: ops.randint, attributes, inputs: [], output }], []], { slots }));
      for (const bad of [0.5, NaN, Infinity, 1e300])
        expect(failure(() => executor.replay(id, { steps: 2, values: Float64Array.of(1, bad) })).message).to.include(
          "but an attribute that it changes is a whole number",
        );
      executor.unload(id);
    });

    it("once a buffer of theirs was released", async () => {
      const buffer = executor.allocate(4);
      const id = executor.load(program([[fill(dense(buffer, 0, [], "float32"), 1)]]));
      const replay = executor.replay(id, { steps: 1000, values: none });
      executor.release(buffer);
      expect(failure(() => executor.run(id, none)).message).to.include(`buffer ${buffer} of the program was released`);
      expect((await replay.ended).steps).to.equal(1000);
      executor.unload(id);
    });
  });

  it("unloaded while replays are queued serve those first, and their number is never used again", async () => {
    const what = program([write(1)]);
    const id = executor.load(what);
    const replays = [1, 2, 3].map((steps) => executor.replay(id, { steps, values: none }).ended);
    executor.unload(id);
    const next = executor.load(what);
    expect(next).to.be.above(id);
    expect(failure(() => executor.run(id, none)).message).to.include(`program ${id} does not exist`);
    expect((await Promise.all(replays)).map(({ steps }) => steps)).to.deep.equal([1, 2, 3]);
    expect(written()).to.equal(111_111);
    executor.unload(next);
  });

  it("may be very many runs at once", () => {
    const id = executor.load(program([[fill(digit, 1), binary(ops.add, digits, digit)]]));
    for (let i = 0; i < 40_000; i++) executor.run(id, none);
    expect(written()).to.equal(40_000);
    executor.unload(id);
  });
});

/** Runs a script in a process of its own, with the addon and a program whose steps take about a millisecond at hand. */
function runScript(body: string): { status: number | null; signal: string | null; stdout: string; stderr: string } {
  const prelude = `
    const addon = require(${JSON.stringify(native.path())});
    const code = ${native.kernels}.findIndex((k) => k.name === "fill");
    const n = 1 << 21, device = ${native.device}, id = addon.allocate(device, 4 * n);
    const words = Float64Array.of(code, 15, 1, 0, 0, id, 0, 0, n, 1, n, 1, n, 0, 1);
    // One list of one command, no slots, the first element as a report.
    const program = addon.load(device, words, 15, Float64Array.of(0, 0, 1, 1, 0, 1, id, 0, 0, 1, 0, 0, 0, 0));
    const start = (steps, onProgress) =>
      addon.replay(device, program, steps, new Float64Array(0), new Float64Array(steps), onProgress);
  `;
  const worker = `const { Worker } = require("node:worker_threads");
    const body = ${JSON.stringify(`const { parentPort } = require("node:worker_threads");${prelude}`)};`;
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, ["-e", `${worker}${prelude}${body}`], {
    encoding: "utf8",
    timeout: 100_000,
  });
  return { status, signal, stdout, stderr };
}

whereBuilt("processes with a replay", function () {
  this.timeout(120_000);

  const expectEnd = (result: ReturnType<typeof runScript>, output: string) => {
    expect([result.status, result.signal], result.stderr).to.deep.equal([0, null]);
    expect(result.stdout).to.equal(output);
  };

  it("stay alive until its end", () => {
    expectEnd(runScript(`start(50).ended.then(({ steps }) => console.log(steps));`), "50\n");
    expectEnd(runScript(`start(50); process.on("exit", () => console.log(addon.memory(device).liveBuffers));`), "1\n");
  });

  it("may exit in the middle of it", () => {
    expectEnd(runScript(`start(1e6, () => {}); start(1e6); setTimeout(() => process.exit(0), 50);`), "");
    expectEnd(runScript(`start(1e6, (count) => { if (count > 3) process.exit(0); });`), "");
    expectEnd(runScript(`for (let i = 0; i < 1e4; i++) addon.run(device, program, new Float64Array(0));`), "");
  });

  it("hear of what onProgress throws as of other uncaught exceptions, and go on", () => {
    const script = `
      let caught = 0;
      process.on("uncaughtException", (error) => { caught++; console.log(error.message); });
      start(50, (count) => { if (caught === 0) throw new Error("from a callback"); }).ended.then(({ steps }) => console.log(steps));`;
    expectEnd(runScript(script), "from a callback\n50\n");
    const result = runScript(`start(50, () => { throw new Error("from a callback"); });`);
    expect([result.status, result.signal]).to.deep.equal([1, null]);
    expect(result.stderr).to.include("from a callback");
  });

  it("let timers fire although what waits for one replay is not done before the next has ended", () => {
    const script = `
      let fired = false;
      setTimeout(() => (fired = true), 20);
      const chain = async (replays) => {
        while (!fired && replays-- > 0) {
          await start(1).ended;
          for (const begin = performance.now(); performance.now() - begin < 5;);
        }
        return fired;
      };
      Promise.all([chain(300), chain(300)]).then((all) => console.log(all.join(" ")));`;
    expectEnd(runScript(script), "true true\n");
  });

  it("bear workers that are terminated in the middle of one, without leaks", () => {
    const script = `
      const busy = body + \`
        start(1e6, () => parentPort.postMessage("busy"));
        start(1e6);
        addon.run(device, program, new Float64Array(0));
      \`;
      const once = () => new Promise((done) => {
        const worker = new Worker(busy, { eval: true });
        worker.once("message", () => worker.terminate().then(done));
      });
      (async () => {
        for (let i = 0; i < 5; i++) await once();
        const before = process.memoryUsage.rss();
        for (let i = 0; i < 20; i++) await once();
        const grown = process.memoryUsage.rss() - before;
        console.log(grown < 80e6 ? "steady" : "grew by " + grown);
      })();`;
    expectEnd(runScript(script), "steady\n");
  });

  it("bear workers that end, throw or are terminated in onProgress", () => {
    const script = `
      const once = (what) => new Promise((done) => {
        const worker = new Worker(body + "start(1e6, (count) => { if (count > 2) { parentPort.postMessage(0); " + what + " } });", { eval: true });
        worker.once("error", () => {});
        worker.once("exit", done);
        if (what.startsWith("while")) worker.once("message", () => setTimeout(() => worker.terminate(), 20));
      });
      (async () => {
        const codes = [];
        for (const what of ["process.exit(3)", "throw new Error('from a worker')", "while (true) addon.memory(device)"])
          for (let i = 0; i < 5; i++) codes.push(await once(what));
        console.log(codes.join(" "));
      })();`;
    expectEnd(runScript(script), "3 3 3 3 3 1 1 1 1 1 1 1 1 1 1\n");
  });
});
