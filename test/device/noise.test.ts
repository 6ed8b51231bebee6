// The noise has the same bits in TypeScript and in C++, on every input that its floating-point part can see, for ever.

import { expect } from "chai";
import { execFileSync } from "node:child_process";
import { join } from "node:path";

import { NoiseStream, highProduct, minusTwoLog, philox, rotate, uniform } from "../../ts/device/ts/noise.ts";
import { ops } from "../../ts/ops/index.ts";
import type { Value } from "../ops/draw.ts";
import { oracle, subjects } from "../ops/executors.ts";
import { evaluate } from "../ops/run-op.ts";
import { compile, hasCompiler, inFolder } from "./native-programs.ts";

/** What native/test/noise_golden.cpp prints. These numbers must never change: every seed of every user depends on them. */
const golden = {
  radius: 3634312283,
  angle: 2749202138,
  normals: 2119676364,
  uniforms: 1977438078,
  integers: 2788349171,
};

const basis = 2166136261;

/** FNV-1a of one more word, its upper bits folded back: alone, it loses an even number of wrong signs. */
function mix(hash: number, word: number): number {
  const product = Math.imul(hash ^ word, 16777619);
  return product ^ (product >>> 15);
}

const float = new Float32Array(1);
const floatBits = new Int32Array(float.buffer);

function bitsOf(value: number): number {
  float[0] = value;
  return floatBits[0];
}

function radiusHash(): number {
  let hash = basis;
  for (let i = 0; i < 2 ** 24; i++) hash = mix(hash, bitsOf(Math.sqrt(minusTwoLog(i << 8))));
  return hash >>> 0;
}

function angleHash(): number {
  let hash = basis;
  const turn = new Float32Array(2);
  const bits = new Int32Array(turn.buffer);
  for (let i = 0; i < 2 ** 25; i++) {
    rotate(1, i << 7, turn, 0);
    hash = mix(mix(hash, bits[0]), bits[1]);
  }
  return hash >>> 0;
}

/** A million values of each kind. */
function streamHashes(): { normals: number; uniforms: number; integers: number } {
  const stream = new NoiseStream({ seed: 0x123456789abcdef0n, draw: 1, image: 2, step: 3 });
  let [normals, uniforms, integers] = [basis, basis, basis];
  for (let quad = 0; quad < 250_000; quad++) {
    stream.drawNormals(0, quad);
    for (let k = 0; k < 4; k++) {
      normals = mix(normals, bitsOf(stream.normals[k]));
      uniforms = mix(uniforms, bitsOf(uniform(stream.words[k])));
      integers = mix(integers, highProduct(stream.words[k], 4_000_000_000));
    }
  }
  return { normals: normals >>> 0, uniforms: uniforms >>> 0, integers: integers >>> 0 };
}

describe("noise", () => {
  it("Philox4x32-10 gives the published test vectors", () => {
    // Random123, tests/kat_vectors.
    const vectors: [counter: number[], key: number[], words: number[]][] = [
      [
        [0, 0, 0, 0],
        [0, 0],
        [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
      ],
      [
        [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
        [0xffffffff, 0xffffffff],
        [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
      ],
      [
        [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
        [0xa4093822, 0x299f31d0],
        [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
      ],
    ];
    const words = new Int32Array(4);
    for (const [counter, key, expected] of vectors) {
      philox(counter[0], counter[1], counter[2], counter[3], key[0], key[1], words);
      expect(Array.from(words, (w) => w >>> 0)).to.deep.equal(expected);
    }
  });

  it("the high word of a product is exact", () => {
    const words = [0, 1, 2, 0xffff, 0x10000, 0x12345678, 0x7fffffff, 0x80000000, 0xcd9e8d57, 0xfffeffff, 0xffffffff];
    for (const a of words)
      for (const b of words) expect(highProduct(a, b)).to.equal(Number((BigInt(a) * BigInt(b)) >> 32n));
  });

  it("has its bits for every radius", () => expect(radiusHash()).to.equal(golden.radius)).timeout(60_000);
  it("has its bits for every angle", () => expect(angleHash()).to.equal(golden.angle)).timeout(60_000);
  it("has its bits in a million values", () => {
    const { normals, uniforms, integers } = golden;
    expect(streamHashes()).to.deep.equal({ normals, uniforms, integers });
  }).timeout(60_000);

  it("is standard normal", () => {
    const stream = new NoiseStream({ seed: 42n, draw: 0, image: 0, step: 0 });
    const quads = 250_000;
    const moments = [0, 0, 0, 0];
    for (let quad = 0; quad < quads; quad++) {
      stream.drawNormals(0, quad);
      for (const z of stream.normals) for (let k = 0; k < 4; k++) moments[k] += z ** (k + 1) / (4 * quads);
    }
    // Five standard deviations of the moments of a million standard normal values.
    [0, 1, 0, 3].forEach((expected, k) =>
      expect(moments[k]).to.be.closeTo(expected, 5e-3 * Math.sqrt([1, 2, 15, 96][k])),
    );
  }).timeout(60_000);
});

describe("noise of the executors", () => {
  const at = { seed: 0x123456789abcdef0n, draw: 1, image: 2, step: 3 };
  const hashOf = ({ elements }: Value): number => {
    let hash = basis;
    for (const element of elements) hash = mix(hash, bitsOf(element));
    return hash >>> 0;
  };
  for (const { name, float, open, absent } of [oracle, ...subjects])
    if (absent) it.skip(`${name}: skipped, ${absent}`);
    else
      it(`${name}: randn and rand have the same bits`, () => {
        const shape = { shape: [1, 1000, 1000], dtype: float };
        const normals = evaluate(open(), { op: ops.randn, inputs: [], attributes: { ...at, ...shape } });
        expect(hashOf(normals)).to.equal(golden.normals);
        const attributes = { ...at, ...shape, low: 0, high: 1 };
        expect(hashOf(evaluate(open(), { op: ops.rand, inputs: [], attributes }))).to.equal(golden.uniforms);
      });
});

describe("noise in C++", () => {
  const name = "a fused multiply-add that rounds once gives the same bits";
  if (!hasCompiler()) it.skip(`${name}: skipped, no compiler`);
  else
    it(name, () =>
      inFolder((folder) => {
        const program = join(folder, "noise_golden");
        compile(["native/test/noise_golden.cpp"], program, ["-O2"]);
        expect(JSON.parse(execFileSync(program, { encoding: "utf8" }))).to.deep.equal(golden);
      }),
    ).timeout(120_000);
});
