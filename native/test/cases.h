// Ops with random inputs and what they give in double precision, for the checks of any executor's kernels.
#pragma once

#include <array>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "tensors.h"

namespace langevin {

inline std::string text(const Shape& shape) {
  std::string s = "[";
  for (size_t i = 0; i < shape.size(); i++) s += (i ? "," : "") + std::to_string(shape[i]);
  return s + "]";
}

// One op as the checks see it: its inputs (an empty shape list marks an absent one), attributes and the exact result.
struct Case {
  std::string label, kernel;
  std::vector<Tensor> inputs;
  std::vector<DType> dtypes;
  std::vector<bool> pitched;  // which inputs may get a pitch
  Words attributes;
  Shape outputShape;
  std::vector<double> expected;
  double tolerance = 0;  // 0: exactly
};

inline std::vector<double> biasRows(int64_t rows, const Tensor& bias, int64_t cols, bool has) {
  std::vector<double> y(static_cast<size_t>(rows * cols), 0.0);
  for (int64_t r = 0; has && r < rows; r++)
    for (int64_t c = 0; c < cols; c++) y[r * cols + c] = bias.at(c);
  return y;
}

// Products of values in [-1, 1]: rounding errors of a chain walk randomly, and thousands of elements are drawn.
inline double toleranceFor(double terms) { return 2e-6 * std::sqrt(terms + 1); }

// How operands are rounded before they are used: not at all, to tf32 (ties away from 0) or to bf16 (ties to even).
inline float asItIs(float x) { return x; }
inline float withBits(float x, uint32_t (*change)(uint32_t)) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  bits = change(bits);
  std::memcpy(&x, &bits, 4);
  return x;
}
inline float inTf32(float x) {
  return withBits(x, [](uint32_t bits) { return (bits + 0x1000u) & ~0x1FFFu; });
}
inline float inBf16(float x) {
  return withBits(x, [](uint32_t bits) { return (bits + 0x7FFFu + (bits >> 16 & 1u)) & ~0xFFFFu; });
}
inline void storeAs(Tensor& t, float (*stored)(float)) {
  for (int64_t i = 0; i < t.size(); i++) t.at(i) = stored(t.at(i));
}

struct Geometry {
  int64_t n, h, w, i, o, kh, kw, sy = 1, sx = 1, top = 0, bottom = 0, left = 0, right = 0, dy = 1, dx = 1;
  int64_t oh() const { return (h + top + bottom - dy * (kh - 1) - 1) / sy + 1; }
  int64_t ow() const { return (w + left + right - dx * (kw - 1) - 1) / sx + 1; }
  bool valid() const { return h + top + bottom > dy * (kh - 1) && w + left + right > dx * (kw - 1); }
  Words words() const { return join({ints({sy, sx}), ints({top, bottom, left, right}), ints({dy, dx})}); }
  std::string name() const {
    return text({n, h, w, i}) + " to " + std::to_string(o) + " kernel " + text({kh, kw}) + " stride " + text({sy, sx}) +
           " padding " + text({top, bottom, left, right}) + " dilation " + text({dy, dx});
  }
};

// Calls f(x pixel, y pixel, tap) for every pair that meets in a tap.
template <class F>
void eachMeeting(const Geometry& g, const F& f) {
  for (int64_t n = 0; n < g.n; n++)
    for (int64_t oy = 0; oy < g.oh(); oy++)
      for (int64_t ox = 0; ox < g.ow(); ox++)
        for (int64_t ky = 0; ky < g.kh; ky++)
          for (int64_t kx = 0; kx < g.kw; kx++) {
            const int64_t iy = oy * g.sy - g.top + ky * g.dy, ix = ox * g.sx - g.left + kx * g.dx;
            if (iy < 0 || iy >= g.h || ix < 0 || ix >= g.w) continue;
            f((n * g.h + iy) * g.w + ix, (n * g.oh() + oy) * g.ow() + ox, ky * g.kw + kx);
          }
}

// conv2d, convTranspose2d and conv2dWeightGradient between the same three arrays, whose values `stored` has rounded.
inline std::array<Case, 3> convolutionCases(const Geometry& g, Random& random, bool bias, float (*stored)(float) = asItIs) {
  const Shape xs = {g.n, g.h, g.w, g.i}, ys = {g.n, g.oh(), g.ow(), g.o}, ws = {g.kh, g.kw, g.i, g.o};
  Tensor x = Tensor::random(xs, random), y = Tensor::random(ys, random), w = Tensor::random(ws, random);
  for (Tensor* t : {&x, &y, &w}) storeAs(*t, stored);
  const Tensor biasO = Tensor::random({g.o}, random), biasI = Tensor::random({g.i}, random);
  const std::string name = g.name() + (bias ? " bias" : "");

  Case forward = {"conv2d " + name, "conv2d", {x, w}, {DType::f32, DType::f32}, {true, true}, g.words(), ys, {}};
  Case backward = {"convTranspose2d " + name, "convTranspose2d", {y, w}, {DType::f32, DType::f32}, {true, true}, {}, xs, {}};
  Case weight = {"conv2dWeightGradient " + name, "conv2dWeightGradient", {x, y}, {DType::f32, DType::f32}, {true, true}, {},
                 ws, {}};
  backward.attributes = join({g.words(), ints({g.h, g.w})});
  weight.attributes = join({g.words(), ints({g.kh, g.kw})});
  if (bias) {
    for (Case* c : {&forward, &backward}) {
      c->inputs.push_back(c == &forward ? biasO : biasI);
      c->dtypes.push_back(DType::f32);
      c->pitched.push_back(false);
    }
  }
  forward.expected = biasRows(g.n * g.oh() * g.ow(), biasO, g.o, bias);
  backward.expected = biasRows(g.n * g.h * g.w, biasI, g.i, bias);
  weight.expected.assign(static_cast<size_t>(sizeOf(ws)), 0.0);
  eachMeeting(g, [&](int64_t xp, int64_t yp, int64_t tap) {
    for (int64_t i = 0; i < g.i; i++)
      for (int64_t o = 0; o < g.o; o++) {
        const double xv = x.at(xp * g.i + i), yv = y.at(yp * g.o + o), wv = w.at((tap * g.i + i) * g.o + o);
        forward.expected[yp * g.o + o] += xv * wv;
        backward.expected[xp * g.i + i] += yv * wv;
        weight.expected[(tap * g.i + i) * g.o + o] += xv * yv;
      }
  });
  forward.tolerance = toleranceFor(g.kh * g.kw * g.i);
  backward.tolerance = toleranceFor(g.kh * g.kw * g.o);
  weight.tolerance = toleranceFor(g.n * g.oh() * g.ow());
  return {forward, backward, weight};
}

inline Case matmulCase(int64_t m, int64_t k, int64_t n, bool transposeA, bool transposeB, bool bias, Random& random,
                       float (*stored)(float) = asItIs) {
  Tensor a = Tensor::random(transposeA ? Shape{k, m} : Shape{m, k}, random);
  Tensor b = Tensor::random(transposeB ? Shape{n, k} : Shape{k, n}, random);
  storeAs(a, stored);
  storeAs(b, stored);
  const Tensor row = Tensor::random({n}, random);
  Case c = {"matmul " + text({m, k, n}) + (transposeA ? " a^T" : "") + (transposeB ? " b^T" : "") + (bias ? " bias" : ""),
            "matmul", {a, b}, {DType::f32, DType::f32}, {true, true}, {double(transposeA), double(transposeB)}, {m, n}, {}};
  if (bias) {
    c.inputs.push_back(row);
    c.dtypes.push_back(DType::f32);
    c.pitched.push_back(false);
  }
  c.expected = biasRows(m, row, n, bias);
  for (int64_t i = 0; i < m; i++)
    for (int64_t l = 0; l < k; l++)
      for (int64_t j = 0; j < n; j++)
        c.expected[i * n + j] += double(a.at(transposeA ? l * m + i : i * k + l)) * b.at(transposeB ? j * k + l : l * n + j);
  c.tolerance = toleranceFor(k);
  return c;
}

// Matrices a [batchA, M, K] and b [batchB, K, N], their leading axes broadcast.
inline Case batchedMatmulCase(const Shape& batchA, const Shape& batchB, int64_t m, int64_t k, int64_t n, bool transposeA,
                              bool transposeB, bool bias, Random& random, float (*stored)(float) = asItIs) {
  const auto join = [](Shape batch, int64_t rows, int64_t cols) {
    batch.push_back(rows), batch.push_back(cols);
    return batch;
  };
  Tensor a = Tensor::random(transposeA ? join(batchA, k, m) : join(batchA, m, k), random);
  Tensor b = Tensor::random(transposeB ? join(batchB, n, k) : join(batchB, k, n), random);
  storeAs(a, stored);
  storeAs(b, stored);
  const Tensor row = Tensor::random({n}, random);
  const size_t rank = batchA.size() > batchB.size() ? batchA.size() : batchB.size();
  const auto sizeAt = [&](const Shape& batch, size_t axis) {
    const size_t missing = rank - batch.size();
    return axis < missing ? 1 : batch[axis - missing];
  };
  Shape batch;
  for (size_t i = 0; i < rank; i++) batch.push_back(sizeAt(batchA, i) == 1 ? sizeAt(batchB, i) : sizeAt(batchA, i));
  Case c = {"matmul " + text(a.shape()) + (transposeA ? "^T " : " ") + text(b.shape()) + (transposeB ? "^T" : ""),
            "matmul", {a, b}, {DType::f32, DType::f32}, {true, true}, {double(transposeA), double(transposeB)},
            join(batch, m, n), {}};
  if (bias) {
    c.inputs.push_back(row);
    c.dtypes.push_back(DType::f32);
    c.pitched.push_back(false);
  }
  const int64_t products = sizeOf(batch);
  c.expected = biasRows(products * m, row, n, bias);
  const auto matrixOf = [&](const Shape& own, int64_t product) {
    int64_t at = 0, step = 1;
    for (size_t i = rank; i-- > 0;) {
      const int64_t position = product % batch[i], size = sizeAt(own, i);
      product /= batch[i];
      if (size != 1) at += position * step;
      step *= size;
    }
    return at;
  };
  for (int64_t p = 0; p < products; p++) {
    const int64_t firstA = matrixOf(batchA, p) * m * k, firstB = matrixOf(batchB, p) * k * n;
    for (int64_t i = 0; i < m; i++)
      for (int64_t l = 0; l < k; l++)
        for (int64_t j = 0; j < n; j++)
          c.expected[(p * m + i) * n + j] += double(a.at(firstA + (transposeA ? l * m + i : i * k + l))) *
                                             b.at(firstB + (transposeB ? j * k + l : l * n + j));
  }
  c.tolerance = toleranceFor(k);
  return c;
}

}  // namespace langevin
