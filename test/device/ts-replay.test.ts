// Programs on the executor `ts`: what they compute, in which order with everything else, and how replays end.

import { expect } from "chai";

import type { Command, Operand, Program, ReplayOptions } from "../../ts/device/executor.ts";
import { dense } from "../../ts/device/executor.ts";
import { TsExecutor } from "../../ts/device/ts/executor.ts";
import { kernels } from "../../ts/device/ts/kernels/index.ts";
import { DeviceError } from "../../ts/errors/index.ts";
import type { DType, Shape } from "../../ts/ops/index.ts";
import { bytesOf, ops, sizeOf } from "../../ts/ops/index.ts";
import { failure, rejection } from "../failure.ts";

function fill(output: Operand, value: number): Command {
  return { op: ops.fill, attributes: { shape: output.shape, dtype: output.dtype, value }, inputs: [], output };
}

/** x += y */
function accumulate(x: Operand, y: Operand): Command {
  return { op: ops.accumulate, attributes: {}, inputs: [x, y], output: undefined };
}

function binary(op: Command["op"], x: Operand, y: Operand, output: Operand): Command {
  return { op, attributes: {}, inputs: [x, y], output };
}

function unary(op: Command["op"], x: Operand, output: Operand): Command {
  return { op, attributes: {}, inputs: [x], output };
}

function newOperand(executor: TsExecutor, shape: Shape, dtype: DType = "float32"): Operand {
  return dense(executor.allocate(sizeOf(shape) * bytesOf(dtype)), 0, shape, dtype);
}

function scalarOf(executor: TsExecutor, value: number, dtype: DType = "float32"): Operand {
  const operand = newOperand(executor, [], dtype);
  executor.submit([fill(operand, value)]);
  return operand;
}

function numberIn(executor: TsExecutor, { buffer }: Operand): number {
  const target = new Float32Array(1);
  executor.readSync(buffer, 0, target);
  return target[0];
}

async function laterIn(executor: TsExecutor, { buffer }: Operand): Promise<number> {
  const target = new Float32Array(1);
  await executor.read(buffer, 0, target);
  return target[0];
}

const nothing = new Float64Array(0);
const once: ReplayOptions = { steps: 1, values: nothing };

function programOf(lists: Command[][], more: Partial<Program> = {}): Program {
  const steps = lists.map((_, list) => ({ list }));
  return { lists, steps, slots: [], reports: [], checkFinite: false, ...more };
}

/** An executor on which `square` takes `milliseconds`, and adds 1 instead, which lets a test count how often it ran. */
function slowExecutor(milliseconds: number): TsExecutor {
  const square: (typeof kernels)["square"] = (y, [x]) => {
    for (const end = performance.now() + milliseconds; performance.now() < end;);
    y.data[y.offset] = x!.data[x!.offset] + 1;
  };
  return new TsExecutor({ ...kernels, square });
}

/** An executor on which `sqrt` fails for negative numbers. */
function brittleExecutor(): TsExecutor {
  const sqrt: (typeof kernels)["sqrt"] = (y, [x]) => {
    const value = x!.data[x!.offset];
    if (value < 0) throw new DeviceError({ op: "sqrt", problem: `${value} has no root.` });
    y.data[y.offset] = Math.sqrt(value);
  };
  return new TsExecutor({ ...kernels, sqrt });
}

/** A program of one list that adds 1 to `x`. */
function counting(x: Operand, more: Partial<Program> = {}): Program {
  return programOf([[unary(ops.square, x, x)]], more);
}

/** A turn of the event loop. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** What is thrown where nobody catches it until `settled`; mocha's own listeners step aside meanwhile. */
async function uncaughtUntil(settled: () => Promise<unknown>): Promise<unknown[]> {
  const listeners = process.rawListeners("uncaughtException") as NodeJS.UncaughtExceptionListener[];
  const caught: unknown[] = [];
  process.removeAllListeners("uncaughtException");
  process.on("uncaughtException", (error) => caught.push(error));
  try {
    await settled();
    await turn();
  } finally {
    process.removeAllListeners("uncaughtException");
    for (const listener of listeners) process.on("uncaughtException", listener);
  }
  return caught;
}

describe("TsExecutor.replay", () => {
  let executor: TsExecutor;
  let x: Operand;
  let one: Operand;
  beforeEach(() => {
    executor = brittleExecutor();
    x = scalarOf(executor, 0);
    one = scalarOf(executor, 1);
  });

  describe("runs a program", () => {
    it("in a later turn of the event loop", async () => {
      const program = executor.load(programOf([[accumulate(x, one)]]));
      let ended = false;
      const replay = executor.replay(program, { steps: 3, values: nothing });
      void replay.ended.then(() => (ended = true));
      await Promise.resolve();
      expect(ended).to.be.false;
      expect(await replay.ended).to.deep.equal({ steps: 3, lists: 3 });
      expect(numberIn(executor, x)).to.equal(3);
    });

    it("whose loops are nested", async () => {
      const two = [accumulate(x, x)];
      const inner = [{ list: 0 }, { times: 2, body: [{ list: 1 }] }];
      const steps = [
        { times: 3, body: [...inner, { times: 0, body: [{ list: 1 }] }] },
        { times: 7, body: [] },
        { list: 0 },
      ];
      const program = executor.load(programOf([[accumulate(x, one)], two], { steps }));
      const end = await executor.replay(program, { steps: 2, values: nothing }).ended;
      let expected = 0;
      for (let step = 0; step < 2; step++) {
        for (let i = 0; i < 3; i++) expected = (expected + 1) * 4;
        expected++;
      }
      expect(numberIn(executor, x)).to.equal(expected);
      expect(end).to.deep.equal({ steps: 2, lists: 20 });
    });

    it("that has nothing in it", async () => {
      const program = executor.load(programOf([[]], { steps: [] }));
      expect(await executor.replay(program, { steps: 5, values: nothing }).ended).to.deep.equal({ steps: 5, lists: 0 });
      const empty = executor.load(programOf([[]]));
      expect(await executor.replay(empty, { steps: 5, values: nothing }).ended).to.deep.equal({ steps: 5, lists: 5 });
    });

    it("as it was when it was loaded", async () => {
      const command = fill(x, 5);
      const attributes = { ...command.attributes, value: 5 };
      const lists = [[{ ...command, attributes }]];
      const steps = [{ list: 0 }];
      const program = executor.load(programOf(lists, { steps }));
      attributes.value = 6;
      lists[0].length = 0;
      steps.length = 0;
      expect(await executor.replay(program, once).ended).to.deep.equal({ steps: 1, lists: 1 });
      expect(numberIn(executor, x)).to.equal(5);
    });

    it("on operands without elements", async () => {
      const empty = newOperand(executor, [0, 3]);
      const program = executor.load(programOf([[unary(ops.neg, empty, empty)]], { checkFinite: true }));
      expect(await executor.replay(program, once).ended).to.deep.equal({ steps: 1, lists: 1 });
    });
  });

  describe("gives slots their values", () => {
    it("before each run of their list, in places of this list and of others", async () => {
      const [a, b] = [newOperand(executor, []), newOperand(executor, [])];
      const lists = [
        [fill(a, -1), accumulate(x, a)],
        [fill(a, -1), fill(b, -1), accumulate(x, a), accumulate(x, b)],
      ];
      const slots = [
        { list: 1, places: [{ list: 1, command: 1, attribute: "value" }] },
        {
          list: 0,
          places: [
            { list: 0, command: 0, attribute: "value" },
            { list: 1, command: 0, attribute: "value" },
          ],
        },
      ];
      const steps = [{ list: 0 }, { times: 2, body: [{ list: 1 }] }];
      const program = executor.load(programOf(lists, { slots, steps, reports: [x] }));
      const values = Float64Array.of(1, 10, 20, 100, 1000, 2000);
      const reports = new Float64Array(2);
      const { ended } = executor.replay(program, { steps: 2, values, reports });
      values.fill(NaN);
      expect(await ended).to.deep.equal({ steps: 2, lists: 6 });
      const first = 1 + (1 + 10) + (1 + 20);
      expect(Array.from(reports)).to.deep.equal([first, first + 100 + (100 + 1000) + (100 + 2000)]);
    });

    it("in the order of several slots of a list", () => {
      const y = newOperand(executor, []);
      const place = (command: number) => ({ list: 0, places: [{ list: 0, command, attribute: "value" }] });
      const program = executor.load(programOf([[fill(x, 0), fill(y, 0)]], { slots: [place(1), place(0)] }));
      executor.run(program, Float64Array.of(7, 8));
      expect([numberIn(executor, x), numberIn(executor, y)]).to.deep.equal([8, 7]);
    });

    it("and leaves the commands of the caller alone", () => {
      const command = fill(x, 3);
      const slots = [{ list: 0, places: [{ list: 0, command: 0, attribute: "value" }] }];
      const program = executor.load(programOf([[command]], { slots }));
      executor.run(program, Float64Array.of(4));
      expect(numberIn(executor, x)).to.equal(4);
      expect(command.attributes.value).to.equal(3);
    });

    it("and refuses more or fewer than there are to be", () => {
      const slots = [{ list: 0, places: [{ list: 0, command: 0, attribute: "value" }] }];
      const steps = [{ times: 3, body: [{ list: 0 }] }];
      const program = executor.load(programOf([[fill(x, 0)]], { slots, steps, reports: [x, one] }));
      const numbers = (n: number): Float64Array => new Float64Array(n);
      expect(failure(() => executor.replay(program, { steps: 2, values: numbers(5) })).message).to.equal(
        "replay: values holds 5 numbers, expected 6: 3 for each of 2 steps.",
      );
      const calls = [
        () => executor.replay(program, { steps: 2, values: numbers(7) }),
        () => executor.replay(program, { steps: 2, values: numbers(6), reports: numbers(3) }),
        () => executor.replay(program, { steps: 2, values: numbers(6), reports: numbers(5) }),
        () => executor.replay(program, { steps: 0, values: numbers(0) }),
        () => executor.replay(program, { steps: 1.5, values: numbers(3) }),
        () => executor.run(program, numbers(2)),
        () => executor.run(program, numbers(4)),
      ];
      calls.forEach((call, i) => expect(failure(call), `call ${i}`).to.be.instanceOf(DeviceError));
      expect(numberIn(executor, one)).to.equal(1);
    });
  });

  describe("keeps the order", () => {
    it("of what is submitted before, meanwhile and after", async () => {
      const source = Float32Array.of(1);
      executor.write(x.buffer, 0, source);
      const double = executor.load(programOf([[accumulate(x, x)]]));
      const first = executor.replay(double, { steps: 2, values: nothing });
      executor.submit([accumulate(x, one), accumulate(x, one)]);
      const afterFirst = laterIn(executor, x);
      source[0] = 10;
      executor.write(x.buffer, 0, source);
      source[0] = -1;
      executor.run(double, nothing);
      const second = executor.replay(double, { steps: 1, values: nothing });
      const afterSecond = laterIn(executor, x);
      executor.submit([]);
      executor.submit([fill(x, 0)]);
      expect(await afterFirst).to.equal(6);
      expect(await afterSecond).to.equal(40);
      expect(await first.ended).to.deep.equal({ steps: 2, lists: 2 });
      expect(await second.ended).to.deep.equal({ steps: 1, lists: 1 });
      expect(await laterIn(executor, x)).to.equal(0);
    });

    it("of what callers are told", async () => {
      const told: string[] = [];
      const program = executor.load(programOf([[accumulate(x, one)]]));
      const replay = (name: string): Promise<unknown> => {
        const { ended } = executor.replay(program, {
          steps: 10,
          values: nothing,
          onProgress: () => void (told.at(-1) === `progress ${name}` || told.push(`progress ${name}`)),
        });
        return ended.then(() => told.push(`end ${name}`));
      };
      const all = [
        replay("1"),
        laterIn(executor, x).then(() => told.push("read")),
        replay("2"),
        executor.synchronize().then(() => told.push("synchronize")),
      ];
      await Promise.all(all);
      // Promises of `async` methods take some more microtasks until callers hear of them.
      expect(told.indexOf("end 1")).to.be.lessThan(told.indexOf("read"));
      expect(told.indexOf("end 1")).to.be.lessThan(told.indexOf("end 2"));
      expect(told.indexOf("end 2")).to.be.lessThan(told.indexOf("synchronize"));
      expect(told.indexOf("progress 1")).to.be.lessThan(told.indexOf("end 1"));
      expect(told.indexOf("progress 2")).to.be.lessThan(told.indexOf("end 2"));
    });

    it("of two replays of one program with slots", async () => {
      const slots = [{ list: 0, places: [{ list: 0, command: 0, attribute: "value" }] }];
      const program = executor.load(programOf([[fill(x, 0)]], { slots, reports: [x] }));
      const reports = [new Float64Array(2), new Float64Array(2)];
      const replays = reports.map((rows, i) =>
        executor.replay(program, { steps: 2, values: Float64Array.of(10 * i, 10 * i + 1), reports: rows }),
      );
      executor.unload(program);
      await Promise.all(replays.map(({ ended }) => ended));
      expect(reports.map((rows) => Array.from(rows))).to.deep.equal([
        [0, 1],
        [10, 11],
      ]);
    });

    it("where memory is released and handed out again while work on it waits", async () => {
      const y = newOperand(executor, [1000]);
      const program = executor.load(programOf([[accumulate(x, one)]]));
      const { ended } = executor.replay(program, { steps: 100, values: nothing });
      executor.submit([fill(y, 3)]);
      executor.write(y.buffer, 0, Float32Array.of(4));
      const target = new Float32Array(1000);
      const read = executor.read(y.buffer, 0, target);
      executor.release(y.buffer);
      const { reservedBytes } = executor.memory();
      const z = newOperand(executor, [1000]);
      expect(executor.memory().reservedBytes).to.equal(reservedBytes);
      executor.submit([fill(z, 5)]);
      await read;
      expect([target[0], target[1], target[999]]).to.deep.equal([4, 3, 3]);
      expect(numberIn(executor, z)).to.equal(5);
      await ended;
      expect(failure(() => executor.submit([fill(y, 0)]))).to.be.instanceOf(DeviceError);
    });

    it("and commands that wait keep the attributes that they were submitted with", async () => {
      const [a, b] = [newOperand(executor, [2, 3]), newOperand(executor, [3, 2])];
      executor.write(a.buffer, 0, Float32Array.of(0, 1, 2, 3, 4, 5));
      const { ended } = executor.replay(executor.load(programOf([[accumulate(x, one)]])), once);
      const axes = [1, 0];
      executor.submit([{ op: ops.permute, attributes: { axes }, inputs: [a], output: b }]);
      axes.reverse();
      await ended;
      const target = new Float32Array(6);
      executor.readSync(b.buffer, 0, target);
      expect(Array.from(target)).to.deep.equal([0, 3, 1, 4, 2, 5]);
    });

    it("when the caller blocks: everything before is done then", async () => {
      const slow = slowExecutor(1);
      const count = scalarOf(slow, 0);
      const told: number[] = [];
      const { ended } = slow.replay(slow.load(counting(count)), {
        steps: 30,
        values: nothing,
        onProgress: (steps) => told.push(steps),
      });
      await turn();
      const read = laterIn(slow, count);
      slow.submit([accumulate(count, count)]);
      expect(numberIn(slow, count)).to.equal(60);
      expect(told.at(-1) ?? 0, "nobody is called back meanwhile").to.be.lessThan(30);
      let hasEnded = false;
      void ended.then(() => (hasEnded = true));
      await Promise.resolve();
      expect(hasEnded, "progress is told first").to.be.false;
      expect(await ended).to.deep.equal({ steps: 30, lists: 30 });
      expect(told.at(-1)).to.equal(30);
      expect(await read).to.equal(30);
    });

    it("without holding more work than memory is for", async function () {
      this.slow(5000);
      const { ended } = executor.replay(executor.load(programOf([[accumulate(x, one)]])), once);
      let hasEnded = false;
      void ended.then(() => (hasEnded = true));
      for (let i = 0; i < 40_000; i++) executor.submit([accumulate(x, one)]);
      expect(hasEnded).to.be.false;
      expect(numberIn(executor, x)).to.equal(40_001);
      await ended;
    });
  });

  describe("shares the thread", () => {
    it("with timers", async () => {
      const slow = slowExecutor(1);
      const count = scalarOf(slow, 0);
      let ticks = 0;
      const timer = setInterval(() => ticks++, 1);
      const lists = [Array.from({ length: 100 }, () => unary(ops.square, count, count))];
      await slow.replay(slow.load(programOf(lists)), once).ended;
      clearInterval(timer);
      expect(ticks).to.be.greaterThan(5);
      expect(numberIn(slow, count)).to.equal(100);
    });

    it("and pauses in eager commands that wait, and where lists have no commands", async () => {
      const slow = slowExecutor(2);
      const count = scalarOf(slow, 0);
      const { ended, stop } = slow.replay(slow.load(programOf([[]])), { steps: 1e9, values: nothing });
      await turn();
      stop();
      slow.submit(Array.from({ length: 20 }, () => unary(ops.square, count, count)));
      let ticks = 0;
      const timer = setInterval(() => ticks++, 1);
      const { steps } = await ended;
      expect(steps).to.be.greaterThan(0).and.lessThan(1e9);
      expect(await laterIn(slow, count)).to.equal(20);
      clearInterval(timer);
      expect(ticks).to.be.greaterThan(2);
    });
  });

  describe("tells of its progress", () => {
    it("with the reports of the steps that are done", async () => {
      const slow = slowExecutor(1);
      const count = scalarOf(slow, 0);
      const whole = newOperand(slow, [1, 1], "int32");
      const cast: Command = { op: ops.cast, attributes: { dtype: "int32" }, inputs: [count], output: whole };
      const program = slow.load(
        counting(count, { lists: [[unary(ops.square, count, count), cast]], reports: [count, whole] }),
      );
      const reports = new Float64Array(60).fill(-1);
      const told: number[] = [];
      const onProgress = (steps: number): void => {
        told.push(steps);
        for (let k = 0; k < 30; k++)
          expect(Array.from(reports.subarray(2 * k, 2 * k + 2))).to.deep.equal(k < steps ? [k + 1, k + 1] : [-1, -1]);
      };
      const { ended } = slow.replay(program, { steps: 30, values: nothing, reports, onProgress });
      await ended;
      expect(told.length).to.be.greaterThan(2);
      expect(told).to.deep.equal([...new Set(told)].sort((a, b) => a - b));
      expect(told.at(-1)).to.equal(30);
      await turn();
      expect(told.at(-1)).to.equal(30);
    });

    it("of several steps at once, where they are short", async () => {
      const told: number[] = [];
      const onProgress = (steps: number): void => void told.push(steps);
      const program = executor.load(programOf([[accumulate(x, one)]]));
      await executor.replay(program, { steps: 20_000, values: nothing, onProgress }).ended;
      expect(told.length).to.be.lessThan(5000);
      expect(told.at(-1)).to.equal(20_000);
    });

    it("and a listener may use the device, also blocking", async () => {
      const program = executor.load(programOf([[accumulate(x, one)]]));
      const seen: number[] = [];
      const onProgress = (): void => {
        executor.submit([accumulate(x, one)]);
        seen.push(numberIn(executor, x));
      };
      await executor.replay(program, { steps: 3, values: nothing, onProgress }).ended;
      expect(seen.at(-1)).to.equal(3 + seen.length);
    });

    it("and an exception of a listener is an uncaught one, which breaks nothing", async () => {
      const program = executor.load(programOf([[accumulate(x, one)]]));
      const onProgress = (steps: number): void => {
        throw new Error(`progress ${steps}`);
      };
      const { ended } = executor.replay(program, { steps: 3, values: nothing, onProgress });
      const caught = await uncaughtUntil(() => ended);
      expect(caught.map((error) => (error as Error).message)).to.deep.equal(["progress 3"]);
      expect(await ended).to.deep.equal({ steps: 3, lists: 3 });
      expect(await laterIn(executor, x)).to.equal(3);
    });
  });

  describe("stops", () => {
    it("before it has begun, in its turn", async () => {
      const program = executor.load(programOf([[accumulate(x, one)]]));
      const first = executor.replay(program, { steps: 2, values: nothing });
      const second = executor.replay(program, { steps: 2, values: nothing });
      second.stop();
      expect(await second.ended).to.deep.equal({ steps: 0, lists: 0 });
      expect(await first.ended).to.deep.equal({ steps: 2, lists: 2 });
      expect(numberIn(executor, x)).to.equal(2);
    });

    it("before the next command list", async () => {
      const slow = slowExecutor(6);
      const count = scalarOf(slow, 0);
      const add = unary(ops.square, count, count);
      const program = slow.load(
        programOf([[add, add, add]], { steps: [{ list: 0 }, { times: 2, body: [{ list: 0 }] }] }),
      );
      const { ended, stop } = slow.replay(program, { steps: 1000, values: nothing });
      for (let i = 0; i < 13; i++) await turn();
      stop();
      const { steps, lists } = await ended;
      expect(lists).to.be.within(3, 6);
      expect(steps).to.equal(Math.floor(lists / 3));
      expect(numberIn(slow, count)).to.equal(3 * lists);
    });

    it("never, once all is done", async () => {
      const { ended, stop } = executor.replay(executor.load(programOf([[accumulate(x, one)]])), once);
      expect(numberIn(executor, x)).to.equal(1);
      stop();
      expect(await ended).to.deep.equal({ steps: 1, lists: 1 });
      stop();
      executor.submit([accumulate(x, one)]);
      expect(numberIn(executor, x)).to.equal(2);
    });

    it("from within its progress", async () => {
      const slow = slowExecutor(1);
      const count = scalarOf(slow, 0);
      const told: number[] = [];
      const { ended, stop } = slow.replay(slow.load(counting(count)), {
        steps: 1000,
        values: nothing,
        onProgress: (steps) => {
          told.push(steps);
          stop();
        },
      });
      const end = await ended;
      expect(told).to.deep.equal([end.steps]);
      expect(numberIn(slow, count)).to.equal(end.steps);
    });
  });

  describe("fails", () => {
    it("with the op, the problem and the place, and runs nothing after it", async () => {
      const [bad, root] = [scalarOf(executor, -5), newOperand(executor, [])];
      const add = accumulate(x, one);
      const told: number[] = [];
      const replay = executor.replay(executor.load(programOf([[add], [add, unary(ops.sqrt, bad, root), add]])), {
        steps: 3,
        values: nothing,
        onProgress: (steps) => told.push(steps),
      });
      executor.submit([add]);
      expect(await laterIn(executor, x)).to.equal(3);
      expect(await replay.ended).to.deep.equal({
        steps: 0,
        lists: 1,
        failure: { op: "sqrt", problem: "-5 has no root.", list: 1, command: 1 },
      });
      expect(told).to.deep.equal([]);
      await executor.synchronize();
    });

    it("after steps that were complete, and tells of them first", async () => {
      const minusOne = scalarOf(executor, -1);
      const [left, root] = [scalarOf(executor, 2), newOperand(executor, [])];
      const lists = [[unary(ops.sqrt, left, root), accumulate(left, minusOne)]];
      const told: number[] = [];
      const { ended } = executor.replay(executor.load(programOf(lists)), {
        steps: 10,
        values: nothing,
        onProgress: (steps) => told.push(steps),
      });
      const failed = { op: "sqrt", problem: "-1 has no root.", list: 0, command: 0 };
      expect(await ended).to.deep.equal({ steps: 3, lists: 3, failure: failed });
      expect(told.at(-1)).to.equal(3);
    });

    it("with the message of an error that is none of this library", async () => {
      const neg = (): void => {
        throw new TypeError("no such thing");
      };
      const odd = new TsExecutor({ ...kernels, neg });
      const y = scalarOf(odd, 1);
      const { ended } = odd.replay(odd.load(programOf([[unary(ops.neg, y, y)]])), once);
      expect((await ended).failure).to.deep.equal({ op: "neg", problem: "no such thing", list: 0, command: 0 });
    });

    it("where a result is not finite and that is to be checked", async () => {
      const shape = [4, 8, 8];
      const input = newOperand(executor, shape);
      const values = new Float32Array(256).fill(2);
      const pitched: Operand = {
        buffer: executor.allocate(4 * 4 * 8 * 10),
        offset: 2,
        shape,
        pitch: 10,
        dtype: "float32",
      };
      // What lies between the rows is no part of the result.
      executor.write(pitched.buffer, 0, new Float32Array(4 * 8 * 10).fill(NaN));
      const copy = unary(ops.copy, input, pitched);
      const program = executor.load(
        programOf([[], [accumulate(x, one), copy, accumulate(x, one)]], { checkFinite: true }),
      );
      const problems: unknown[] = [];
      for (const odd of [3, NaN, Infinity, -Infinity]) {
        values[2 * 64 + 5] = odd;
        values[3 * 64] = odd;
        executor.write(input.buffer, 0, values);
        const { failure: found, steps, lists } = await executor.replay(program, once).ended;
        expect([steps, lists]).to.deep.equal(odd === 3 ? [1, 2] : [0, 1]);
        problems.push(found);
      }
      const found = (what: string): unknown => ({
        op: "copy",
        problem: `element [2, 0, 5] of the result (shape [4, 8, 8]) is ${what}`,
        list: 1,
        command: 1,
      });
      expect(problems).to.deep.equal([undefined, found("NaN"), found("Infinity"), found("-Infinity")]);
      expect(numberIn(executor, x)).to.equal(2 + 3);
      executor.submit([copy]);
      expect(failure(() => executor.run(program, nothing)).message).to.equal(
        "copy: element [2, 0, 5] of the result (shape [4, 8, 8]) is -Infinity.",
      );
    });

    it("in scalars and float64, too, but not where nobody asked for it", async () => {
      const [zero, y] = [newOperand(executor, [], "float64"), newOperand(executor, [], "float64")];
      executor.submit([fill(zero, 0)]);
      const divide = programOf([[binary(ops.div, zero, zero, y)]]);
      expect(await executor.replay(executor.load(divide), once).ended).to.deep.equal({ steps: 1, lists: 1 });
      const { ended } = executor.replay(executor.load({ ...divide, checkFinite: true }), once);
      expect((await ended).failure?.problem).to.equal("element [] of the result (shape []) is NaN");
    });
  });

  describe("and failures of commands that wait", () => {
    /** A command that fails as it runs. */
    let bad: Command;
    beforeEach(() => {
      bad = unary(ops.sqrt, scalarOf(executor, -7), newOperand(executor, []));
    });
    const startReplay = (): Promise<unknown> =>
      executor.replay(executor.load(programOf([[accumulate(x, one)]])), once).ended;

    it("come up in the next read, and only there", async () => {
      const ended = startReplay();
      executor.submit([accumulate(x, one), bad, accumulate(x, one)]);
      executor.submit([accumulate(x, one)]);
      const read = laterIn(executor, x);
      const synchronized = executor.synchronize();
      expect((await rejection(read)).message).to.equal("sqrt: -7 has no root.");
      await synchronized;
      expect(await ended).to.deep.equal({ steps: 1, lists: 1 });
      expect(numberIn(executor, x), "the failure ends its own list").to.equal(3);
    });

    it("come up in synchronize, the first one alone", async () => {
      void startReplay();
      executor.submit([bad]);
      executor.submit([unary(ops.sqrt, scalarOf(executor, -8), x)]);
      expect((await rejection(executor.synchronize())).message).to.include("sqrt: -7");
      await executor.synchronize();
    });

    it("come up in a read that blocks", async () => {
      const ended = startReplay();
      executor.run(executor.load(programOf([[bad]])), nothing);
      expect(failure(() => numberIn(executor, x)).message).to.include("sqrt: -7");
      expect(numberIn(executor, x)).to.equal(1);
      await ended;
    });

    it("come up later even if nothing waits by then", async () => {
      const ended = startReplay();
      executor.submit([bad]);
      await ended;
      await turn();
      executor.submit([accumulate(x, one)]);
      expect((await rejection(executor.synchronize())).message).to.include("sqrt: -7");
      expect(await laterIn(executor, x)).to.equal(2);
    });

    it("are none where the command can be refused at once", async () => {
      const ended = startReplay();
      const outside = dense(x.buffer, 100, [], "float32");
      expect(failure(() => executor.submit([accumulate(x, one), fill(outside, 0)]))).to.be.instanceOf(DeviceError);
      expect(failure(() => executor.write(x.buffer, 100, new Float32Array(1)))).to.be.instanceOf(DeviceError);
      expect(await rejection(executor.read(x.buffer, 100, new Float32Array(1)))).to.be.instanceOf(DeviceError);
      await executor.synchronize();
      await ended;
      expect(numberIn(executor, x), "nothing of the list ran").to.equal(1);
    });

    it("are those of reads, too, whose target has gone", async () => {
      void startReplay();
      const target = new Float32Array(1);
      const read = executor.read(x.buffer, 0, target);
      structuredClone(target, { transfer: [target.buffer] });
      expect(await rejection(read)).to.be.instanceOf(TypeError);
      expect(await laterIn(executor, x)).to.equal(1);
    });
  });

  describe("run", () => {
    it("runs one step at once where nothing waits, and throws its failure", () => {
      const y = scalarOf(executor, -2);
      const program = executor.load(programOf([[accumulate(x, one)], [unary(ops.sqrt, y, y)]]));
      expect(failure(() => executor.run(program, nothing)).message).to.equal("sqrt: -2 has no root.");
      executor.submit([fill(y, 1)]);
      executor.run(program, nothing);
      expect(numberIn(executor, x)).to.equal(2);
    });
  });

  describe("refuses", () => {
    const place = { list: 0, command: 0, attribute: "value" };
    const malformed: Record<string, [RegExp, () => Partial<Program>]> = {
      "steps that are no list": [/^load: .*command list 1 of a program with 1/, () => ({ steps: [{ list: 1 }] })],
      "lists that are no number": [/^load: /, () => ({ steps: [{ list: 0.5 }] })],
      "lists in loops that never run": [/^load: /, () => ({ steps: [{ times: 0, body: [{ list: -1 }] }] })],
      "loops that run -1 times": [/^load: a loop runs -1 times/, () => ({ steps: [{ times: -1, body: [] }] })],
      "loops that run 1.5 times": [/^load: a loop runs 1.5 times/, () => ({ steps: [{ times: 1.5, body: [] }] })],
      "slots of no list": [/^load: .*command list 3/, () => ({ slots: [{ list: 3, places: [] }] })],
      "places in no list": [/^load: .*list 2/, () => ({ slots: [{ list: 0, places: [{ ...place, list: 2 }] }] })],
      "places in no command": [
        /^load: .*command 4 of list 0/,
        () => ({ slots: [{ list: 0, places: [{ ...place, command: 4 }] }] }),
      ],
      "places in no attribute": [
        /^fill: .*"toString"/,
        () => ({ slots: [{ list: 0, places: [{ ...place, attribute: "toString" }] }] }),
      ],
      "places in an attribute that is no number": [
        /^fill: .*"shape"/,
        () => ({ slots: [{ list: 0, places: [{ ...place, attribute: "shape" }] }] }),
      ],
      "reports of several elements": [/^load: .*\[2\]/, () => ({ reports: [{ ...x, shape: [2], pitch: 2 }] })],
      "reports of memory that is not there": [/^load: .*buffer 12345/, () => ({ reports: [{ ...x, buffer: 12345 }] })],
      "operands that are not there": [/^fill: .*buffer 12345/, () => ({ lists: [[fill({ ...x, buffer: 12345 }, 0)]] })],
      "operands outside their buffer": [/^fill: .*lies outside/, () => ({ lists: [[fill({ ...x, offset: 9 }, 0)]] })],
      "ops without a kernel": [/^reshape: .*no kernel/, () => ({ lists: [[unary(ops.reshape, x, x)]] })],
      "commands without an output": [
        /^neg: .*no output/,
        () => ({ lists: [[{ ...unary(ops.neg, x, x), output: undefined }]] }),
      ],
    };
    for (const [name, [message, more]] of Object.entries(malformed))
      it(name, () => {
        const error = failure(() => executor.load(programOf([[fill(x, 0)]], more())));
        expect(error).to.be.instanceOf(DeviceError);
        expect(error.message).to.match(message);
      });

    it("programs that are not there, and never gives out a number twice", () => {
      const first = executor.load(programOf([]));
      executor.unload(first);
      const second = executor.load(programOf([]));
      expect(second).not.to.equal(first);
      const calls = [
        () => executor.unload(first),
        () => executor.run(first, nothing),
        () => executor.replay(first, once),
        () => executor.replay(12345, once),
      ];
      for (const call of calls) {
        const error = failure(call);
        expect(error).to.be.instanceOf(DeviceError);
        expect(error.message).to.match(/^(unload|run|replay): program \d+ does not exist/);
      }
    });
  });
});
