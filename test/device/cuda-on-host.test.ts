// The CUDA kernel of the fused DDPM step, compiled as ordinary C++, against the kernel of the cpu executor: bit for bit.

import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { expect } from "chai";

import { dense } from "../../ts/device/executor.ts";
import { loadAddon, packageRoot } from "../../ts/device/native/addon.ts";
import { CpuExecutor } from "../../ts/device/native/cpu-executor.ts";
import { ops } from "../../ts/ops/index.ts";
import { compile, cudaHost, hasCompiler, inFolder } from "./native-programs.ts";

interface Case {
  readonly name: string;
  readonly images: number;
  readonly elements: number;
  readonly steps: number;
  readonly givenNoise: boolean;
  readonly seed: bigint;
  readonly draw: number;
  readonly image: number;
  readonly step: number;
}

const at = { seed: 0xfedcba9876543210n, draw: 4, image: 7, step: 23 };
const cases: Case[] = [
  { name: "aligned images", images: 5, elements: 192, steps: 24, givenNoise: false, ...at },
  { name: "images whose size is no multiple of four", images: 6, elements: 75, steps: 24, givenNoise: false, ...at },
  { name: "more elements than a block's threads take", images: 2, elements: 5000, steps: 24, givenNoise: false, ...at },
  { name: "given noise", images: 6, elements: 130, steps: 24, givenNoise: true, ...at },
  { name: "the last image numbers", images: 3, elements: 64, steps: 4, givenNoise: false, ...at, image: 2 ** 32 - 3 },
];

/** Values in [-2, 2) from a small generator: the data need only be varied. */
function values(n: number, seed: number): Float32Array {
  let state = seed;
  return Float32Array.from({ length: n }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 32) * 4 - 2;
  });
}

function inputsOf(c: Case) {
  const size = c.images * c.elements;
  return {
    x: values(size, 1),
    epsilon: values(size, 2),
    // Every case holds a zero, where no noise belongs.
    t: Int32Array.from({ length: c.images }, (_, i) => (i * 7) % c.steps),
    coefficients: values(3 * c.steps, 3),
    z: c.givenNoise ? values(size, 4) : undefined,
  };
}

type Inputs = ReturnType<typeof inputsOf>;

function runKernel(program: string, folder: string, c: Case, inputs: Inputs): Float32Array {
  const numbers = [c.images, c.elements, c.steps, c.givenNoise ? 1 : 0, c.seed, c.draw, c.image, c.step];
  const head = BigUint64Array.from(numbers.map((n) => BigInt.asUintN(64, BigInt(n))));
  const arrays = [head, inputs.x, inputs.epsilon, inputs.t, inputs.coefficients, ...(inputs.z ? [inputs.z] : [])];
  const [input, output] = [join(folder, "input"), join(folder, "output")];
  writeFileSync(input, Buffer.concat(arrays.map((a) => Buffer.from(a.buffer))));
  const result = spawnSync(program, [input, output], { encoding: "utf8" });
  expect(result.status, result.stderr).to.equal(0);
  return new Float32Array(new Uint8Array(readFileSync(output)).buffer);
}

function runCpu(executor: CpuExecutor, c: Case, inputs: Inputs): Float32Array {
  const put = (array: Float32Array | Int32Array) => {
    const buffer = executor.allocate(array.byteLength);
    executor.write(buffer, 0, array);
    return buffer;
  };
  const shape = [c.images, c.elements];
  const output = put(new Float32Array(c.images * c.elements).fill(NaN));
  executor.submit([
    {
      op: ops.ddpmStep,
      attributes: { seed: c.seed, draw: c.draw, image: c.image, step: c.step },
      inputs: [
        dense(put(inputs.x), 0, shape, "float32"),
        dense(put(inputs.epsilon), 0, shape, "float32"),
        dense(put(inputs.t), 0, [c.images], "int32"),
        dense(put(inputs.coefficients), 0, [c.steps, 3], "float32"),
        inputs.z && dense(put(inputs.z), 0, shape, "float32"),
      ],
      output: dense(output, 0, shape, "float32"),
    },
  ]);
  const result = new Float32Array(c.images * c.elements);
  executor.readSync(output, 0, result);
  return result;
}

const bits = (array: Float32Array) => Array.from(new Uint32Array(array.buffer));

describe("CUDA kernels on the host: ddpmStep", function () {
  this.timeout(120_000);

  before(function () {
    if (!hasCompiler()) this.skip();
  });

  function expectSameBits(program: string, folder: string): void {
    const executor = new CpuExecutor({ threads: 2 });
    for (const c of cases) {
      const inputs = inputsOf(c);
      const [kernel, cpu] = [runKernel(program, folder, c, inputs), runCpu(executor, c, inputs)];
      expect(kernel.some(Number.isNaN), `${c.name}: an element was not written`).to.be.false;
      expect(bits(kernel), c.name).to.deep.equal(bits(cpu));
    }
  }

  it("gives the bits of the cpu executor", () => {
    inFolder((folder) => {
      const program = join(folder, "ddpm_step");
      compile(["native/test/ddpm_step_host.cpp", ...cudaHost], program, ["-O2"]);
      expectSameBits(program, folder);
    });
  });

  it("gives the same bits on a GPU", function () {
    if (loadAddon().addon.cuda().devices.length === 0) this.skip();
    inFolder((folder) => {
      const program = join(folder, "ddpm_step");
      const flags = ["-std=c++17", "-O3", "--fmad=false", "-Xcompiler=-ffp-contract=off", "-arch=native", "-x", "cu"];
      const source = "native/test/ddpm_step_host.cpp";
      const built = spawnSync("nvcc", [...flags, source, "-o", program], { cwd: packageRoot(), encoding: "utf8" });
      expect(built.status, built.error?.message ?? built.stderr).to.equal(0);
      expectSameBits(program, folder);
    });
  });
});
