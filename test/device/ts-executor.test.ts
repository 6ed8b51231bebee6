// The `ts` executor's memory, its refusals, and the fit of its kernels to the op records.

import { expect } from "chai";

import { TsExecutor } from "../../ts/device/ts/executor.ts";
import { kernels } from "../../ts/device/ts/kernels/index.ts";
import type { Command, Executor, Operand } from "../../ts/device/executor.ts";
import { dense } from "../../ts/device/executor.ts";
import { DeviceError } from "../../ts/errors/index.ts";
import { ops } from "../../ts/ops/index.ts";
import { failure, rejection } from "../failure.ts";

function negate(input: Operand, output: Operand): Command {
  return { op: ops.neg, attributes: {}, inputs: [input], output };
}

describe("TsExecutor", () => {
  it("refuses a table of kernels that does not fit the ops", () => {
    const { neg, ...others } = kernels;
    const missing = failure(() => new TsExecutor(others));
    expect(missing).to.be.instanceOf(DeviceError);
    expect(missing.message).to.include("missing [neg]");
    const extra = failure(() => new TsExecutor({ ...kernels, negate: neg }));
    expect(extra).to.be.instanceOf(DeviceError);
    expect(extra.message).to.include("without an op [negate]");
    expect(failure(() => new TsExecutor({ ...kernels, reshape: neg })).message).to.include("without an op [reshape]");
  });

  it("computes in every dtype, on one thread", () => {
    const executor: Executor = new TsExecutor();
    expect(executor.name).to.equal("ts");
    expect(executor.threads).to.equal(1);
    for (const dtype of ["float32", "int32", "float64"] as const) expect(executor.supports(dtype)).to.equal(true);
  });

  it("writes and reads at byte offsets", async () => {
    const executor = new TsExecutor();
    const buffer = executor.allocate(20);
    executor.write(buffer, 0, Float32Array.of(1, 2, 3, 4, 5));
    executor.write(buffer, 8, Float32Array.of(30, 40));
    const tail = new Float32Array(4);
    executor.readSync(buffer, 4, tail);
    expect(Array.from(tail)).to.deep.equal([2, 30, 40, 5]);
    const inside = new Float32Array(6).subarray(2, 4);
    await executor.read(buffer, 8, inside);
    expect(Array.from(inside)).to.deep.equal([30, 40]);
    await executor.synchronize();
  });

  it("copies what is written at once", () => {
    const executor = new TsExecutor();
    const buffer = executor.allocate(4);
    const source = Float32Array.of(1);
    executor.write(buffer, 0, source);
    source[0] = 2;
    const target = new Float32Array(1);
    executor.readSync(buffer, 0, target);
    expect(target[0]).to.equal(1);
  });

  it("never gives out an id twice, and reuses memory", () => {
    const executor = new TsExecutor();
    const ids = new Set<number>();
    for (let i = 0; i < 100; i++) {
      const buffer = executor.allocate(1000);
      expect(ids.has(buffer)).to.equal(false);
      ids.add(buffer);
      executor.release(buffer);
    }
    expect(executor.memory()).to.deep.equal({ liveBuffers: 0, liveBytes: 0, reservedBytes: 1000 });
  });

  it("counts its memory", () => {
    const executor = new TsExecutor();
    const [first, second] = [executor.allocate(16), executor.allocate(24)];
    expect(executor.memory()).to.deep.equal({ liveBuffers: 2, liveBytes: 40, reservedBytes: 40 });
    executor.release(first);
    expect(executor.memory()).to.deep.equal({ liveBuffers: 1, liveBytes: 24, reservedBytes: 40 });
    expect(executor.allocate(16)).to.be.greaterThan(second);
    expect(executor.memory()).to.deep.equal({ liveBuffers: 2, liveBytes: 40, reservedBytes: 40 });
  });

  it("does not keep more freed memory than its limit", () => {
    const executor = new TsExecutor();
    const buffers = Array.from({ length: 5 }, (_, i) => executor.allocate(2 ** 26 + 8 * i));
    for (const buffer of buffers) executor.release(buffer);
    expect(executor.memory().reservedBytes).to.be.at.most(2 ** 28);
  });

  it("allows buffers without elements", () => {
    const executor = new TsExecutor();
    const [x, y] = [executor.allocate(0), executor.allocate(0)];
    executor.submit([negate(dense(x, 0, [0, 3], "float32"), dense(y, 0, [0, 3], "float32"))]);
    executor.readSync(y, 0, new Float32Array(0));
  });

  it("refuses requests that make no sense", async () => {
    const executor = new TsExecutor();
    const buffer = executor.allocate(16);
    const freed = executor.allocate(16);
    executor.release(freed);
    const good = dense(buffer, 0, [2, 2], "float32");
    const calls: (() => void)[] = [
      () => executor.allocate(-1),
      () => executor.allocate(1.5),
      () => executor.allocate(2 ** 52),
      () => executor.release(freed),
      () => executor.release(12345),
      () => executor.write(freed, 0, new Float32Array(1)),
      () => executor.write(buffer, 12, new Float32Array(2)),
      () => executor.write(buffer, -4, new Float32Array(1)),
      () => executor.readSync(buffer, 0, new Float32Array(5)),
      () => executor.readSync(buffer, 0.5, new Float32Array(1)),
      () => executor.submit([negate(dense(freed, 0, [2, 2], "float32"), good)]),
      () => executor.submit([negate(good, dense(buffer, 1, [2, 2], "float32"))]),
      () => executor.submit([negate(good, dense(buffer, -1, [2, 2], "float32"))]),
      () => executor.submit([negate(good, { ...good, pitch: 3 })]),
      () => executor.submit([negate({ ...good, pitch: 1 }, good)]),
      () => executor.submit([negate(good, dense(buffer, 0, [2, 2], "float64"))]),
      () => executor.submit([{ op: ops.neg, attributes: {}, inputs: [good], output: undefined }]),
      () => executor.submit([{ op: ops.reshape, attributes: { shape: [4] }, inputs: [good], output: good }]),
    ];
    calls.forEach((call, i) => expect(failure(call), `call ${i}`).to.be.instanceOf(DeviceError));
    expect(await rejection(executor.read(freed, 0, new Float32Array(1)))).to.be.instanceOf(DeviceError);
  });

  it("refuses what is stored in 16 bits", () => {
    const executor = new TsExecutor();
    const x = { ...dense(executor.allocate(16), 0, [4], "float32"), dtype: "bfloat16" } as const;
    expect(failure(() => executor.submit([negate(x, x)])).message).to.equal(
      "neg: an operand is stored in bfloat16, which the ts executor does not have.",
    );
  });

  it("names the op and the buffer in its refusals", () => {
    const executor = new TsExecutor();
    const buffer = executor.allocate(16);
    const { message } = failure(() =>
      executor.submit([negate(dense(buffer, 0, [2, 3], "float32"), dense(buffer, 0, [2, 3], "float32"))]),
    );
    expect(message).to.equal(
      `neg: an operand [2, 3] at 0 with pitch 3 lies outside buffer ${buffer} of 4 float32 elements.`,
    );
  });

  it("runs commands in order", () => {
    const executor = new TsExecutor();
    const x = dense(executor.allocate(8), 0, [2], "float32");
    executor.write(x.buffer, 0, Float32Array.of(1, 2));
    const double: Command = { op: ops.accumulate, attributes: {}, inputs: [x, x], output: undefined };
    executor.submit([double, double, { op: ops.neg, attributes: {}, inputs: [x], output: x }]);
    const result = new Float32Array(2);
    executor.readSync(x.buffer, 0, result);
    expect(Array.from(result)).to.deep.equal([-4, -8]);
  });
});
