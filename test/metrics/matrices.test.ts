// The matrices of the Frechet distance: products, semi-definite factors of any rank, nuclear norms of known matrices.

import { expect } from "chai";
import type { Matrix } from "../../ts/metrics/matrices.ts";
import { nuclearNorm, semidefiniteFactor, transposedProduct, zeroMatrix } from "../../ts/metrics/matrices.ts";
import { normals } from "./normals.ts";

const matrix = (rows: number, columns: number, draw = 0): Matrix => ({
  rows,
  columns,
  data: normals(rows * columns, draw),
});

const transposed = ({ rows, columns, data }: Matrix): Matrix => ({
  rows: columns,
  columns: rows,
  data: Float64Array.from({ length: data.length }, (_, i) => data[(i % rows) * columns + Math.floor(i / rows)]),
});

const diagonal = (...values: number[]): Matrix => {
  const result = zeroMatrix(values.length, values.length);
  values.forEach((value, i) => (result.data[i * values.length + i] = value));
  return result;
};

const product = (a: Matrix, b: Matrix): Matrix => transposedProduct(transposed(a), b);

/** A matrix of orthonormal columns: Gram and Schmidt, twice. */
function orthonormal(n: number, draw: number): Matrix {
  const { data } = matrix(n, n, draw);
  const rows = Array.from({ length: n }, (_, i) => data.slice(i * n, (i + 1) * n));
  rows.forEach((row, i) => {
    for (const before of [...rows.slice(0, i), ...rows.slice(0, i)]) {
      const along = row.reduce((sum, x, j) => sum + x * before[j], 0);
      before.forEach((x, j) => (row[j] -= along * x));
    }
    const length = Math.hypot(...row);
    row.forEach((x, j) => (row[j] = x / length));
  });
  return { rows: n, columns: n, data: Float64Array.from(rows.flatMap((row) => [...row])) };
}

function expectNear(got: Matrix, expected: Matrix, within: number): void {
  expect([got.rows, got.columns]).to.deep.equal([expected.rows, expected.columns]);
  expected.data.forEach((value, i) => expect(got.data[i]).to.be.closeTo(value, within));
}

describe("matrices", () => {
  for (const [rows, m, n] of [
    [1, 1, 1],
    [7, 3, 5],
    [37, 4, 2],
    [66, 9, 11],
  ] as const)
    // prettier-ignore
    it(`multiplies [${rows}, ${m}] transposed by [${rows}, ${n}]`, () => {
      const [a, b] = [matrix(rows, m), matrix(rows, n, 1)];
      const expected = zeroMatrix(m, n);
      for (let i = 0; i < m; i++)
        for (let j = 0; j < n; j++)
          for (let k = 0; k < rows; k++) expected.data[i * n + j] += a.data[k * m + i] * b.data[k * n + j];
      expectNear(transposedProduct(a, b), expected, 1e-12);
      expectNear(transposedProduct(a, a), transposedProduct(a, { ...a }), 1e-12);
    });

  for (const [n, rank] of [
    [1, 1],
    [6, 6],
    [40, 40],
    [40, 7],
    [5, 1],
    [3, 0],
  ] as const)
    // prettier-ignore
    it(`factors a semi-definite [${n}, ${n}] of rank ${rank}`, () => {
      const x = matrix(rank, n);
      const a = transposedProduct(x, x);
      const factor = semidefiniteFactor(a);
      expect(factor.columns).to.equal(rank);
      expectNear(product(factor, transposed(factor)), a, 1e-11);
    });

  describe("the nuclear norm", () => {
    it("of a diagonal is the sum of its sizes", () => {
      expect(nuclearNorm(diagonal(3, -2, 0, 5))).to.be.closeTo(10, 1e-14);
      expect(nuclearNorm(diagonal(-7))).to.be.closeTo(7, 1e-14);
      expect(nuclearNorm(zeroMatrix(4, 3))).to.equal(0);
      expect(nuclearNorm(zeroMatrix(3, 0))).to.equal(0);
    });

    for (const values of [
      [4, 3, 2, 1],
      [1, 1, 1, 1, 1, 1, 1],
      [1e6, 1, 1e-6, 1e-12, 0, 0],
      Array.from({ length: 60 }, (_, i) => 0.5 ** i),
    ])
      it(`of a matrix with ${values.length} singular values is their sum`, () => {
        const n = values.length;
        const a = product(product(orthonormal(n, 1), diagonal(...values)), transposed(orthonormal(n, 2)));
        const sum = values.reduce((total, value) => total + value, 0);
        expect(nuclearNorm(a)).to.be.closeTo(sum, 4e-15 * n * values[0]);
      });

    it("is the same for tall and wide, and the trace where the matrix is positive semi-definite", () => {
      const tall = matrix(50, 20);
      expect(nuclearNorm(tall)).to.be.closeTo(nuclearNorm(transposed(tall)), 1e-11);
      for (const x of [matrix(80, 30), matrix(9, 30)]) {
        const a = transposedProduct(x, x);
        const trace = x.data.reduce((sum, value) => sum + value * value, 0);
        expect(nuclearNorm(a)).to.be.closeTo(trace, 1e-13 * trace * 30);
      }
    });
  });
});
