// Runs every sample of every op record on every executor and compares with double arithmetic: the tests of all kernels.

import { expect } from "chai";

import { loadAddon } from "../../ts/device/native/addon.ts";
import { kernels } from "../../ts/device/ts/kernels/index.ts";
import { opList } from "../../ts/ops/index.ts";
import { drawCase } from "./draw.ts";
import { cpuSubject, cudaHost, describeSubject, oracle, subjects } from "./executors.ts";
import { layouts, onePitched, runCase } from "./run-op.ts";
import { expectClose, firstDifference } from "./tolerance.ts";

describe("op records", () => {
  for (const op of opList) it(`${op.name} has samples`, () => expect(op.samples).to.not.have.length(0));

  it("samples of an op have distinct names", () => {
    for (const op of opList) expect(new Set(op.samples.map((s) => s.name)).size, op.name).to.equal(op.samples.length);
  });
});

describe("coverage", () => {
  const expected = opList.filter((op) => !op.view).map((op) => op.name);

  it("ts has a kernel for each op and no other", () => expect(Object.keys(kernels)).to.have.members(expected));

  const cpu = cpuSubject(2);
  if (cudaHost) return;
  if (cpu.absent) it.skip(`cpu: skipped, ${cpu.absent}`);
  else
    it("cpu has a kernel for each op and no other", () =>
      expect(
        loadAddon()
          .addon.kernels()
          .map(({ name }) => name),
      ).to.have.members(expected));
});

describe("conformance", () => {
  describe("memory layouts give the same bits", () => {
    for (const subject of [oracle, ...subjects])
      describeSubject(subject, () => {
        for (const op of opList)
          for (const sample of op.samples)
            it(`${op.name}: ${sample.name}`, () => {
              const c = drawCase(op, sample, subject.float);
              const all = [...layouts, ...onePitched(c.inputs.length + 1)];
              const [dense, ...others] = all.map((layout) => runCase(subject.open(), c, layout));
              for (const other of others)
                other.forEach(({ elements }, i) =>
                  expect(firstDifference(elements, dense[i].elements)).to.equal(undefined),
                );
              for (const { elements } of dense) expect(elements.some(Number.isNaN)).to.equal(false);
            });
      });
  });

  for (const subject of subjects)
    describeSubject(subject, () => {
      for (const op of opList)
        for (const sample of op.samples)
          for (const layout of layouts)
            it(`${op.name}: ${sample.name}, ${layout.name}`, () => {
              const reference = runCase(oracle.open(), drawCase(op, sample, "float64"));
              const c = drawCase(op, sample, subject.float);
              runCase(subject.open(), c, layout).forEach((value, i) => expectClose(c, value, reference[i]));
            });
    });
});
