// Functions that Math lacks, in double: the logistic function, the error function, and powers as C has them.

/** 1 / (1 + e^-x), with all digits on both sides. */
export function logistic(x: number): number {
  if (x >= 0) return 1 / (1 + Math.exp(-x));
  const e = Math.exp(x);
  return e / (1 + e);
}

/** a ** b; JavaScript gives NaN where C gives 1: for 1 ** NaN and (+-1) ** (+-Infinity). */
export function power(a: number, b: number): number {
  if (a === 1 || (a === -1 && (b === Infinity || b === -Infinity))) return 1;
  return a ** b;
}

/** Coefficients of `scaledErfc`: a Chebyshev series of degree 22, in powers. */
const scaled = [
  0.13699945762506138, -0.1220685911351103, 0.09665108778315383, -0.067606728914149705, 0.041356448484789483,
  -0.021751367155111539, 0.0095476893629638515, -0.003296256666147628, 0.000764006963548299, -3.5119866992390011e-5,
  -5.6881621457116006e-5, 2.2101635082005086e-5, -4.5427547686837142e-7, -2.3576841723726692e-6, 5.865479892193299e-7,
  1.7811830216630877e-7, -1.0545645150702242e-7, -9.4961241608368785e-9, 1.5316102588306564e-8, 1.0297801070184502e-10,
  -1.9094111124883099e-9, 3.318068135435021e-11, 1.5092270742581906e-10,
];

/** e^(z^2) erfc(z) for z >= 0: (1 - t) times a polynomial in t = (z - 4) / (z + 4); relative error 6e-16. */
function scaledErfc(z: number): number {
  const t = (z - 4) / (z + 4);
  let sum = 0;
  for (let k = scaled.length - 1; k >= 0; k--) sum = sum * t + scaled[k];
  return (sum * 8) / (z + 4);
}

/** e^-z^2; the square is split so that its rounding does not grow with it. */
function gaussian(z: number): number {
  const high = Math.fround(z);
  return Math.exp(-high * high) * Math.exp((high - z) * (high + z));
}

/** 1 - erf(z) for z >= 0, with all digits. */
function erfcOf(z: number): number {
  return z > 28 ? 0 : gaussian(z) * scaledErfc(z);
}

const twoOverRootPi = 2 / Math.sqrt(Math.PI);

/** 2 / sqrt(pi) times the integral of e^-u^2 from 0 to x. */
export function erf(x: number): number {
  const z = Math.abs(x);
  if (z >= 0.5) return Math.sign(x) * (1 - erfcOf(z));
  // Taylor's series.
  let sum = 1;
  let term = 1;
  for (let n = 1; n <= 14; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return twoOverRootPi * x * sum;
}

/** The derivative of `erf`. */
export function erfSlope(x: number): number {
  return twoOverRootPi * (Math.abs(x) > 28 ? 0 : gaussian(x));
}

/** The probability of less than x under the normal distribution. */
export function normalBelow(x: number): number {
  const tail = erfcOf(Math.abs(x) * Math.SQRT1_2) / 2;
  return x < 0 ? tail : 1 - tail;
}

/** The density of the normal distribution. */
export function normalDensity(x: number): number {
  return erfSlope(x * Math.SQRT1_2) / Math.sqrt(8);
}
