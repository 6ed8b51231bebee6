// The noise of the `ts` executor: Philox4x32-10 and Box-Muller with the bits of native/noise/philox.h.
//
// Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), and Box and Muller (1958). Every operation
// rounds to float32. `fused` rounds twice, to double and to float32; test/device/noise.test.ts tries every input that it
// ever sees and finds the bits of a true fused multiply-add. The polynomials are those of Cephes (logf, sinf, cosf).

const { clz32, fround, imul, sqrt } = Math;

/** Where in the noise an image's values lie; all words are 32 bits. */
export interface NoiseKey {
  readonly seed: bigint;
  readonly draw: number;
  readonly image: number;
  readonly step: number;
}

/** High 32 bits of the unsigned product of two 32-bit words, from products of their halves. */
export function highProduct(a: number, b: number): number {
  const [aLow, aHigh, bLow, bHigh] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16];
  const middle = (imul(aHigh, bLow) >>> 0) + (imul(aLow, bLow) >>> 16);
  const carried = (imul(aLow, bHigh) >>> 0) + (middle & 0xffff);
  return (imul(aHigh, bHigh) + (middle >>> 16) + (carried >>> 16)) >>> 0;
}

/** Writes the four words of counter (quad, draw, image, step) under the key (low, high). */
export function philox(
  quad: number,
  draw: number,
  image: number,
  step: number,
  low: number,
  high: number,
  words: Int32Array,
): void {
  let c0 = quad | 0;
  let c1 = draw | 0;
  let c2 = image | 0;
  let c3 = step | 0;
  let k0 = low | 0;
  let k1 = high | 0;
  for (let round = 0; round < 10; round++) {
    const n0 = highProduct(0xcd9e8d57, c2) ^ c1 ^ k0;
    const n2 = highProduct(0xd2511f53, c0) ^ c3 ^ k1;
    c1 = imul(0xcd9e8d57, c2);
    c3 = imul(0xd2511f53, c0);
    c0 = n0;
    c2 = n2;
    k0 = (k0 + 0x9e3779b9) | 0; // golden ratio
    k1 = (k1 + 0xbb67ae85) | 0; // sqrt(3) - 1
  }
  words[0] = c0;
  words[1] = c1;
  words[2] = c2;
  words[3] = c3;
}

const fused = (a: number, b: number, c: number): number => fround(a * b + c);

const log0 = fround(7.0376836292e-2);
const log1 = fround(-1.151461031e-1);
const log2 = fround(1.167699874e-1);
const log3 = fround(-1.2420140846e-1);
const log4 = fround(1.4249322787e-1);
const log5 = fround(-1.6668057665e-1);
const log6 = fround(2.0000714765e-1);
const log7 = fround(-2.4999993993e-1);
const log8 = fround(3.3333331174e-1);
const ln2Low = fround(-2.1219444e-4);
const ln2High = 0.693359375;
const rootTwo = fround(1.41421356);

/** -2 ln u for u = ((x >>> 8) + 1/2) 2^-24, which is never 0 or 1. */
export function minusTwoLog(x: number): number {
  const m = fround((x >>> 8) * 2 + 1); // u 2^25
  const exponent = 31 - clz32(m);
  const significand = m / (1 << exponent); // exact, in [1, 2)
  const upper = significand > rootTwo;
  const t = upper ? significand * 0.5 : significand;
  const k = exponent - 25 + (upper ? 1 : 0);
  const f = fround(t - 1);
  const z = fround(f * f);
  let p = fused(log0, f, log1);
  p = fused(p, f, log2);
  p = fused(p, f, log3);
  p = fused(p, f, log4);
  p = fused(p, f, log5);
  p = fused(p, f, log6);
  p = fused(p, f, log7);
  p = fused(p, f, log8);
  let y = fround(fround(f * z) * p);
  y = fused(k, ln2Low, y); // ln 2 in two parts
  y = fused(z, -0.5, y);
  return fround(fused(k, ln2High, fround(f + y)) * -2);
}

const anglePerUnit = (2 * fround(3.14159265)) / 33554432;
const sin0 = fround(-1.9515295891e-4);
const sin1 = fround(8.3321608736e-3);
const sin2 = fround(-1.6666654611e-1);
const cos0 = fround(2.443315711809948e-5);
const cos1 = fround(-1.388731625493765e-3);
const cos2 = fround(4.166664568298827e-2);

/** Sine of 2 pi r / 2^25 for |r| <= 2^22, an eighth of a turn. */
export function sineWithinQuadrant(r: number): number {
  const a = fround(r * anglePerUnit);
  const z = fround(a * a);
  return fused(fused(fused(sin0, z, sin1), z, sin2), fround(z * a), a);
}

/** Cosine of the same angle. */
export function cosineWithinQuadrant(r: number): number {
  const a = fround(r * anglePerUnit);
  const z = fround(a * a);
  return fused(fused(fused(cos0, z, cos1), z, cos2), fround(z * z), fused(z, -0.5, 1));
}

/** Writes radius * (cos, sin) of 2 pi x / 2^32 to out[at], out[at + 1]. */
export function rotate(radius: number, x: number, out: Float32Array, at: number): void {
  const quadrant = ((x + 0x20000000) | 0) >>> 30;
  const r = ((x - (quadrant << 30)) | 0) >> 7; // the angle keeps 25 bits within its quadrant
  const s = radius * sineWithinQuadrant(r);
  const c = radius * cosineWithinQuadrant(r);
  out[at] = quadrant === 0 ? c : quadrant === 1 ? -s : quadrant === 2 ? -c : s;
  out[at + 1] = quadrant === 0 ? s : quadrant === 1 ? c : quadrant === 2 ? -s : -c;
}

/** Four standard normal values of four Philox words. */
export function boxMuller(words: Int32Array, out: Float32Array): void {
  rotate(fround(sqrt(minusTwoLog(words[0]))), words[1], out, 0);
  rotate(fround(sqrt(minusTwoLog(words[2]))), words[3], out, 2);
}

/** A uniform value in [0, 1): 24 bits, exact. */
export function uniform(x: number): number {
  return (x >>> 8) / 16777216;
}

/** Draws the words of one image after the other, in the order of its elements. */
export class NoiseStream {
  readonly words = new Int32Array(4);
  readonly normals = new Float32Array(4);
  readonly #low: number;
  readonly #high: number;
  readonly #key: NoiseKey;

  constructor(key: NoiseKey) {
    this.#key = key;
    this.#low = Number(key.seed & 0xffffffffn);
    this.#high = Number((key.seed >> 32n) & 0xffffffffn);
  }

  /** Fills `words` for elements 4 * quad to 4 * quad + 3 of the image at `row` of the batch. */
  drawWords(row: number, quad: number): void {
    const { draw, image, step } = this.#key;
    philox(quad, draw, image + row, step, this.#low, this.#high, this.words);
  }

  /** Fills `normals` for the same elements. */
  drawNormals(row: number, quad: number): void {
    this.drawWords(row, quad);
    boxMuller(this.words, this.normals);
  }
}
