// Dense float64 matrices, as far as the Frechet distance needs them: products, a Cholesky factor, a nuclear norm.

/** Rows by columns, row after row. */
export interface Matrix {
  /** Number of rows. */
  readonly rows: number;
  /** Number of columns. */
  readonly columns: number;
  /** The elements; element (i, j) is at i * columns + j. */
  readonly data: Float64Array;
}

/** A matrix of zeros. */
export function zeroMatrix(rows: number, columns: number): Matrix {
  return { rows, columns, data: new Float64Array(rows * columns) };
}

/** Rows that `addTransposedProduct` works on at once: of 2,048 columns they fit into a cache of the second level. */
const block = 32;

/**
 * Adds Aᵀ B to `sum`, for A and B of equally many rows. Where both are the same object, `sum` is symmetric and only one half
 * of it is computed.
 */
export function addTransposedProduct(sum: Matrix, a: Matrix, b: Matrix): void {
  const [m, n] = [a.columns, b.columns];
  const [x, y, z] = [a.data, b.data, sum.data];
  for (let first = 0; first < a.rows; first += block)
    for (let i = 0; i < m; i++) {
      const end = Math.min(first + block, a.rows);
      const start = a === b ? i : 0;
      const to = i * n;
      let k = first;
      for (; k + 4 <= end; k += 4) {
        const at = k * m + i;
        const [x0, x1, x2, x3] = [x[at], x[at + m], x[at + 2 * m], x[at + 3 * m]];
        const [y0, y1, y2, y3] = [k * n, (k + 1) * n, (k + 2) * n, (k + 3) * n];
        for (let j = start; j < n; j++)
          z[to + j] += x0 * y[y0 + j] + x1 * y[y1 + j] + (x2 * y[y2 + j] + x3 * y[y3 + j]);
      }
      for (; k < end; k++) for (let j = start; j < n; j++) z[to + j] += x[k * m + i] * y[k * n + j];
    }
  if (a === b) for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) z[i * n + j] = z[j * n + i];
}

/** Aᵀ B. */
export function transposedProduct(a: Matrix, b: Matrix): Matrix {
  const product = zeroMatrix(a.columns, b.columns);
  addTransposedProduct(product, a, b);
  return product;
}

/**
 * A factor L [n, r] of a positive semi-definite matrix, A = L Lᵀ, with r the rank as far as rounding lets it be seen:
 * Cholesky with diagonal pivoting, which ends where all that is left is below n epsilon max(A) (Higham 2002, section 10.3).
 */
export function semidefiniteFactor(a: Matrix): Matrix {
  const n = a.rows;
  const factor = new Float64Array(n * n);
  const left = Float64Array.from({ length: n }, (_, i) => a.data[i * n + i]);
  const least = n * Number.EPSILON * left.reduce((most, value) => Math.max(most, value), 0);
  let rank = 0;
  for (; rank < n; rank++) {
    const pivot = left.reduce((best, value, i) => (value > left[best] ? i : best), 0);
    if (!(left[pivot] > least)) break;
    const root = Math.sqrt(left[pivot]);
    for (let i = 0; i < n; i++) {
      // Rows that were pivots before have nothing left.
      if (left[i] === -Infinity) continue;
      const inner = dot(factor, i * n, factor, pivot * n, rank);
      const entry = i === pivot ? root : (a.data[i * n + pivot] - inner) / root;
      factor[i * n + rank] = entry;
      left[i] -= entry * entry;
    }
    left[pivot] = -Infinity;
  }
  const narrow = zeroMatrix(n, rank);
  for (let i = 0; i < n; i++) narrow.data.set(factor.subarray(i * n, i * n + rank), i * rank);
  return narrow;
}

/** The sum of the singular values, by way of a bidiagonal matrix (Golub and Kahan 1965). */
export function nuclearNorm(a: Matrix): number {
  const { diagonal, beside } = bidiagonal(a.rows >= a.columns ? a : transposed(a));
  // The symmetric matrix [0, Bᵀ; B, 0], its rows taken in turns from both halves, is tridiagonal with a diagonal of zeros;
  // its eigenvalues are the singular values of B and their negatives.
  const off = new Float64Array(Math.max(0, 2 * diagonal.length - 1));
  diagonal.forEach((value, i) => (off[2 * i] = value));
  beside.forEach((value, i) => (off[2 * i + 1] = value));
  const eigenvalues = tridiagonalEigenvalues(new Float64Array(2 * diagonal.length), off);
  return eigenvalues.reduce((sum, value) => sum + Math.abs(value), 0) / 2;
}

/**
 * Its diagonal and what is above it, of a bidiagonal matrix with the singular values of `a`, which has no more columns than
 * rows. Householder reflections take turns: one from the left makes 0 what is below the diagonal in column k, one from the
 * right what is right of the bidiagonal in row k. Both go over the rest of the matrix in one sweep, which also gathers
 * what the next one from the left needs: time goes into moving memory.
 */
function bidiagonal(a: Matrix): { readonly diagonal: Float64Array; readonly beside: Float64Array } {
  const { rows: m, columns: n } = a;
  const work = a.data.slice();
  const [diagonal, beside] = [new Float64Array(n), new Float64Array(Math.max(0, n - 1))];
  const [column, row] = [new Float64Array(m), new Float64Array(n)];
  // For the columns j right of k: the sum over rows i from k on of column[i] work[i, j].
  let [sums, next] = [new Float64Array(n), new Float64Array(n)];
  for (let i = 0; i < m; i++) {
    column[i] = n > 0 ? work[i * n] : 0;
    for (let j = 1; j < n; j++) sums[j] += column[i] * work[i * n + j];
  }
  for (let k = 0; k < n; k++) {
    const left = reflector(column, k, m);
    diagonal[k] = left.length;
    if (k + 1 === n) break;
    for (let j = k + 1; j < n; j++) {
      sums[j] -= left.length * work[k * n + j]; // as the reflector changed column[k]
      row[j] = work[k * n + j] - left.scale * column[k] * sums[j];
    }
    const right = reflector(row, k + 1, n);
    beside[k] = right.length;
    next.fill(0);
    for (let i = k + 1; i < m; i++) {
      const factor = right.scale * reflectFromLeft(work, i * n, k + 1, n, left.scale * column[i], sums, row);
      const head = work[i * n + k + 1] - factor * row[k + 1];
      column[i] = head;
      for (let j = k + 2; j < n; j++) {
        const value = work[i * n + j] - factor * row[j];
        work[i * n + j] = value;
        next[j] += head * value;
      }
    }
    [sums, next] = [next, sums];
  }
  return { diagonal, beside };
}

/** Subtracts factor sums from a row, from column `first` on, and returns the product of the result and v. */
function reflectFromLeft(
  work: Float64Array,
  at: number,
  first: number,
  n: number,
  factor: number,
  sums: Float64Array,
  v: Float64Array,
): number {
  let [p0, p1, p2, p3] = [0, 0, 0, 0];
  let j = first;
  for (; j + 4 <= n; j += 4) {
    const w0 = work[at + j] - factor * sums[j];
    const w1 = work[at + j + 1] - factor * sums[j + 1];
    const w2 = work[at + j + 2] - factor * sums[j + 2];
    const w3 = work[at + j + 3] - factor * sums[j + 3];
    work[at + j] = w0;
    work[at + j + 1] = w1;
    work[at + j + 2] = w2;
    work[at + j + 3] = w3;
    p0 += w0 * v[j];
    p1 += w1 * v[j + 1];
    p2 += w2 * v[j + 2];
    p3 += w3 * v[j + 3];
  }
  for (; j < n; j++) {
    work[at + j] -= factor * sums[j];
    p0 += work[at + j] * v[j];
  }
  return p0 + p1 + (p2 + p3);
}

/**
 * Makes x from `first` on the vector v of a Householder reflection 1 - scale v vᵀ that takes it to (length, 0, 0, ...).
 */
function reflector(x: Float64Array, first: number, end: number): { readonly length: number; readonly scale: number } {
  let square = 0;
  for (let i = first; i < end; i++) square += x[i] * x[i];
  const length = x[first] > 0 ? -Math.sqrt(square) : Math.sqrt(square);
  x[first] -= length;
  // |v|² = 2 (|x|² - length x[first])
  return { length, scale: square === 0 ? 0 : -1 / (length * x[first]) };
}

/**
 * The eigenvalues of a symmetric tridiagonal matrix, by QL steps with Wilkinson's shift (Golub and Van Loan 2013, section
 * 8.3), to an absolute accuracy of about epsilon times the largest; overwrites both.
 */
function tridiagonalEigenvalues(diagonal: Float64Array, off: Float64Array): Float64Array {
  const n = diagonal.length;
  const negligible = Number.EPSILON * off.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  for (let low = 0; low < n; low++)
    for (;;) {
      let high = low;
      while (high + 1 < n && Math.abs(off[high]) > negligible) high++;
      if (high === low) break;
      stepQL(diagonal, off, low, high);
    }
  return diagonal;
}

/** One step on the block from `low` to `high`: chases a bulge upwards by Givens rotations. */
function stepQL(diagonal: Float64Array, off: Float64Array, low: number, high: number): void {
  const half = (diagonal[low + 1] - diagonal[low]) / 2;
  const radius = Math.hypot(half, off[low]);
  const shift = diagonal[low] - (off[low] * off[low]) / (half + (half < 0 ? -radius : radius));
  let [x, bulge] = [diagonal[high] - shift, off[high - 1]];
  for (let k = high - 1; k >= low; k--) {
    const length = Math.sqrt(x * x + bulge * bulge); // Math.hypot is many times slower
    const [c, s] = length === 0 ? [1, 0] : [x / length, bulge / length];
    if (k + 1 < high) off[k + 1] = length;
    // The rotation of rows and columns k and k + 1.
    const [a, b, d] = [diagonal[k], off[k], diagonal[k + 1]];
    diagonal[k + 1] = c * c * d + 2 * c * s * b + s * s * a;
    diagonal[k] = s * s * d - 2 * c * s * b + c * c * a;
    off[k] = c * s * (a - d) + (c * c - s * s) * b;
    x = off[k];
    if (k > low) {
      bulge = s * off[k - 1];
      off[k - 1] *= c;
    }
  }
}

function transposed({ rows, columns, data }: Matrix): Matrix {
  const result = zeroMatrix(columns, rows);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) result.data[j * rows + i] = data[i * columns + j];
  return result;
}

/** The sum of n products, in four parts, which the processor can add side by side. */
export function dot(x: Float64Array, atX: number, y: Float64Array, atY: number, n: number): number {
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  const whole = n - (n % 4);
  for (let i = 0; i < whole; i += 4) {
    s0 += x[atX + i] * y[atY + i];
    s1 += x[atX + i + 1] * y[atY + i + 1];
    s2 += x[atX + i + 2] * y[atY + i + 2];
    s3 += x[atX + i + 3] * y[atY + i + 3];
  }
  for (let i = whole; i < n; i++) s0 += x[atX + i] * y[atY + i];
  return s0 + s1 + (s2 + s3);
}
