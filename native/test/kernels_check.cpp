// Compares the cpu kernels for products, attention, pooling and embedding with plain loops in double precision, and checks that bits
// depend on nothing they should not: pitches, threads, the batch. An argument says how many random convolutions to try.
#include "cases.h"
#include "kernel_harness.h"

using namespace langevin;

namespace {

int failures = 0, checks = 0;

void expect(bool good, const std::string& label, const char* what) {
  checks++;
  if (good) return;
  if (failures++ < 40) std::printf("FAILED %s: %s\n", label.c_str(), what);
}

Tensor runCase(const Case& c, Machine& machine, int64_t inputGap, int64_t outputGap) {
  std::vector<Tensor> inputs;
  std::vector<Operand> operands;
  for (size_t i = 0; i < c.inputs.size(); i++) inputs.push_back(c.pitched[i] ? c.inputs[i].withGap(inputGap) : c.inputs[i]);
  for (size_t i = 0; i < c.inputs.size(); i++) operands.push_back(inputs[i].operand(c.dtypes[i]));
  Tensor output(c.outputShape, outputGap);
  machine.run(c.kernel, operands, c.attributes, output.operand());
  expect(output.sentinelsIntact(), c.label, "wrote outside of the output's rows");
  return output;
}

void compare(const Case& c, const Tensor& y) {
  for (int64_t i = 0; i < y.size(); i++) {
    const double got = y.at(i), want = c.expected[i];
    if (std::isnan(want) ? std::isnan(got) : got == want || std::fabs(got - want) <= c.tolerance) continue;
    std::printf("%s element %ld: %.9g instead of %.9g\n", c.label.c_str(), static_cast<long>(i), got, want);
    expect(false, c.label, "wrong value");
    return;
  }
  expect(true, c.label, "");
}

Machine* machines[4];  // of 1, 2, 3 and 5 threads

void checkCase(const Case& c) {
  const Tensor plain = runCase(c, *machines[0], 0, 0);
  compare(c, plain);
  expect(runCase(c, *machines[0], 3, 5).sameBits(plain), c.label, "pitches change bits");
  expect(runCase(c, *machines[0], 16, 0).sameBits(plain), c.label, "an input pitch changes bits");
  for (int i = 1; i < 4; i++)
    expect(runCase(c, *machines[i], 0, i).sameBits(plain), c.label, "the number of threads changes bits");
}

// Image k alone gives its bits in the batch.
void checkBatch(const Case& c) {
  const int64_t images = c.outputShape[0];
  if (images < 2) return;
  const Tensor whole = runCase(c, *machines[1], 0, 0);
  for (int64_t k : {int64_t{0}, images / 2, images - 1})
    for (int64_t n : {int64_t{1}, int64_t{2}}) {
      if (k + n > images) continue;
      Case part = c;
      part.inputs[0] = c.inputs[0].slice(k, k + n);
      part.outputShape[0] = n;
      expect(runCase(part, *machines[1], 0, 0).sameBits(whole.slice(k, k + n)), c.label, "the batch changes bits");
    }
}

void checkConvolutions(const Geometry& g, Random& random, bool bias) {
  const auto [forward, backward, weight] = convolutionCases(g, random, bias);
  for (const Case* c : {&forward, &backward}) {
    checkCase(*c);
    checkBatch(*c);
  }
  checkCase(weight);
}

void checkMatmul(int64_t m, int64_t k, int64_t n, bool transposeA, bool transposeB, bool bias, Random& random) {
  const Case c = matmulCase(m, k, n, transposeA, transposeB, bias, random);
  checkCase(c);
  if (!transposeA) checkBatch(c);
}

struct AttentionForm {
  int64_t batch, queries, keys, heads, depth, width;
  bool causal;
  Shape mask;  // empty: none
  DType maskType;
};

// softmax(q k^T / sqrt(depth) + mask) v and its gradients in double; 0 where a query may look nowhere.
void checkAttention(const AttentionForm& f, Random& random) {
  const Shape queries = {f.batch, f.queries, f.heads * f.depth}, keys = {f.batch, f.keys, f.heads * f.depth};
  const Shape values = {f.batch, f.keys, f.heads * f.width}, outputs = {f.batch, f.queries, f.heads * f.width};
  const Tensor q = Tensor::random(queries, random), k = Tensor::random(keys, random);
  const Tensor v = Tensor::random(values, random), dy = Tensor::random(outputs, random);
  Tensor mask = Tensor::random(f.mask, random);
  if (f.maskType == DType::i32)
    for (int64_t i = 0; i < mask.size(); i++) mask.intAt(i) = static_cast<int32_t>(random.between(0, 2) > 0);
  const double scale = 1 / std::sqrt(double(f.depth));
  const Words words = {double(f.heads), scale, double(f.causal)};
  const std::string name = text(queries) + " keys " + text(values) + " heads " + std::to_string(f.heads) +
                           (f.causal ? " causal" : "") + " mask " + text(f.mask);
  Case forward = {"attention " + name, "attention", {q, k, v}, {DType::f32, DType::f32, DType::f32}, {true, true, true},
                  words, outputs, std::vector<double>(static_cast<size_t>(sizeOf(outputs)))};
  Case backward = {"attentionGradient " + name, "attentionGradient", {q, k, v, dy},
                   {DType::f32, DType::f32, DType::f32, DType::f32}, {true, true, true, true}, words,
                   {q.size() + k.size() + v.size()}, {}};
  for (Case* c : {&forward, &backward}) {
    if (f.mask.empty()) continue;
    c->inputs.push_back(mask);
    c->dtypes.push_back(f.maskType);
    c->pitched.push_back(true);
  }
  backward.expected.assign(static_cast<size_t>(q.size() + k.size() + v.size()), 0.0);
  double *const dq = backward.expected.data(), *const dk = dq + q.size(), *const dv = dk + k.size();
  std::vector<double> weights(static_cast<size_t>(f.keys)), along(static_cast<size_t>(f.keys));
  for (int64_t b = 0; b < f.batch; b++)
    for (int64_t h = 0; h < f.heads; h++)
      for (int64_t i = 0; i < f.queries; i++) {
        const int64_t position[] = {b, h, i}, atQ = ((b * f.queries + i) * f.heads + h) * f.depth;
        const int64_t atY = ((b * f.queries + i) * f.heads + h) * f.width;
        const auto atK = [&](int64_t j) { return ((b * f.keys + j) * f.heads + h) * f.depth; };
        const auto atV = [&](int64_t j) { return ((b * f.keys + j) * f.heads + h) * f.width; };
        double largest = -INFINITY, total = 0, mean = 0;
        for (int64_t j = 0; j < f.keys; j++) {
          double score = 0;
          for (int64_t c = 0; c < f.depth; c++) score += double(q.at(atQ + c)) * k.at(atK(j) + c);
          score *= scale;
          if (!f.mask.empty()) {
            int64_t at = 0;
            for (size_t axis = 0; axis < f.mask.size(); axis++) {
              const size_t full = axis + 4 - f.mask.size();
              at = at * f.mask[axis] + (f.mask[axis] == 1 ? 0 : full == 3 ? j : position[full]);
            }
            if (f.maskType == DType::f32) score += mask.at(at);
            else if (mask.intAt(at) == 0) score = -INFINITY;
          }
          weights[j] = f.causal && j > i ? -INFINITY : score;
          largest = std::fmax(largest, weights[j]);
        }
        for (double& w : weights) total += w = largest == -INFINITY ? 0 : std::exp(w - largest);
        for (int64_t j = 0; j < f.keys; j++) {
          if (total > 0) weights[j] /= total;
          along[j] = 0;
          for (int64_t c = 0; c < f.width; c++) {
            forward.expected[atY + c] += weights[j] * v.at(atV(j) + c);
            along[j] += double(dy.at(atY + c)) * v.at(atV(j) + c);
            dv[atV(j) + c] += weights[j] * dy.at(atY + c);
          }
          mean += weights[j] * along[j];
        }
        for (int64_t j = 0; j < f.keys; j++) {
          const double d = scale * weights[j] * (along[j] - mean);
          for (int64_t c = 0; c < f.depth; c++) {
            dq[atQ + c] += d * k.at(atK(j) + c);
            dk[atK(j) + c] += d * q.at(atQ + c);
          }
        }
      }
  forward.tolerance = 2e-6;
  backward.tolerance = toleranceFor(f.queries);
  checkCase(forward);
  checkCase(backward);
}

struct PoolGeometry {
  int64_t n, h, w, c, kh, kw, sy, sx, top = 0, bottom = 0, left = 0, right = 0;
};

void checkPool(const PoolGeometry& p, Random& random, bool ties) {
  const int64_t oh = (p.h + p.top + p.bottom - p.kh) / p.sy + 1, ow = (p.w + p.left + p.right - p.kw) / p.sx + 1;
  const Shape xs = {p.n, p.h, p.w, p.c}, ys = {p.n, oh, ow, p.c};
  Tensor x = Tensor::random(xs, random);
  const Tensor dy = Tensor::random(ys, random);
  if (ties)
    for (int64_t i = 0; i < x.size(); i++) {
      const int64_t kind = random.between(0, 9);
      x.at(i) = kind == 0 ? NAN : kind == 1 ? -INFINITY : kind == 2 ? -0.0f : static_cast<float>(kind % 3);
    }
  const std::string name = text(xs) + " kernel " + text({p.kh, p.kw}) + " stride " + text({p.sy, p.sx}) + " padding " +
                           text({p.top, p.bottom, p.left, p.right}) + (ties ? " ties" : "");
  const Words words = join({ints({p.kh, p.kw}), ints({p.sy, p.sx}), ints({p.top, p.bottom, p.left, p.right})});
  Case forward = {"maxPool2d " + name, "maxPool2d", {x}, {DType::f32}, {true}, words, ys, {}};
  Case backward = {"maxPool2dGradient " + name, "maxPool2dGradient", {x, dy}, {DType::f32, DType::f32}, {true, true}, words,
                   xs, {}};
  forward.expected.assign(static_cast<size_t>(sizeOf(ys)), 0.0);
  // Gradients of windows that overlap add up in row-major order, in float32.
  std::vector<float> dx(static_cast<size_t>(sizeOf(xs)), 0.0f);
  for (int64_t n = 0; n < p.n; n++)
    for (int64_t oy = 0; oy < oh; oy++)
      for (int64_t ox = 0; ox < ow; ox++)
        for (int64_t c = 0; c < p.c; c++) {
          int64_t best = -1;
          for (int64_t iy = oy * p.sy - p.top; iy < oy * p.sy - p.top + p.kh; iy++)
            for (int64_t ix = ox * p.sx - p.left; ix < ox * p.sx - p.left + p.kw; ix++) {
              if (iy < 0 || iy >= p.h || ix < 0 || ix >= p.w) continue;
              const int64_t at = ((n * p.h + iy) * p.w + ix) * p.c + c;
              if (best < 0 || x.at(at) > x.at(best) || (std::isnan(x.at(at)) && !std::isnan(x.at(best)))) best = at;
            }
          const int64_t to = ((n * oh + oy) * ow + ox) * p.c + c;
          forward.expected[to] = x.at(best);
          dx[best] += dy.at(to);
        }
  backward.expected.assign(dx.begin(), dx.end());
  checkCase(forward);
  checkBatch(forward);
  checkCase(backward);
}

void checkEmbedding(int64_t rows, int64_t width, const Shape& indexShape, Random& random) {
  const Tensor table = Tensor::random({rows, width}, random);
  Tensor index(indexShape);
  for (int64_t i = 0; i < index.size(); i++) index.intAt(i) = static_cast<int32_t>(random.between(-1, rows));
  Shape ys = indexShape;
  ys.push_back(width);
  const Tensor dy = Tensor::random(ys, random);
  const std::string name = text({rows, width}) + " index " + text(indexShape);
  Case pick = {"embedding " + name, "embedding", {table, index}, {DType::f32, DType::i32}, {true, true}, {}, ys, {}};
  Case add = {"embeddingGradient " + name, "embeddingGradient", {index, dy}, {DType::i32, DType::f32}, {true, true},
              {double(rows)}, {rows, width}, {}};
  std::vector<float> sums(static_cast<size_t>(rows * width), 0.0f);
  for (int64_t i = 0; i < index.size(); i++)
    for (int64_t c = 0; c < width; c++) {
      const int64_t row = index.intAt(i);
      const bool inside = row >= 0 && row < rows;
      pick.expected.push_back(inside ? table.at(row * width + c) : NAN);
      if (inside) sums[row * width + c] += dy.at(i * width + c);
    }
  add.expected.assign(sums.begin(), sums.end());
  checkCase(pick);
  checkCase(add);
}

void checkAllConvolutions(Random& random, int trials) {
  const std::vector<Geometry> geometries = {
      {2, 8, 8, 1, 16, 3, 3, 1, 1, 1, 1, 1, 1},    {5, 8, 8, 16, 16, 3, 3, 1, 1, 1, 1, 1, 1},
      {3, 8, 8, 32, 16, 3, 3, 1, 1, 1, 1, 1, 1},   {13, 4, 4, 16, 32, 3, 3, 1, 1, 1, 1, 1, 1},
      {7, 4, 4, 64, 32, 3, 3, 1, 1, 1, 1, 1, 1},   {19, 2, 2, 32, 64, 3, 3, 1, 1, 1, 1, 1, 1},
      {25, 2, 2, 64, 64, 3, 3, 1, 1, 1, 1, 1, 1},  {9, 4, 4, 32, 64, 2, 2, 2, 2},
      {3, 8, 8, 16, 32, 2, 2, 2, 2},               {40, 8, 8, 16, 1, 1, 1},
      {2, 8, 8, 16, 3, 3, 3, 1, 1, 1, 1, 1, 1},    {1, 40, 37, 3, 16, 3, 3, 1, 1, 1, 1, 1, 1},
      {1, 64, 50, 16, 3, 3, 3, 1, 1, 1, 1, 1, 1},  {2, 1, 1, 4, 4, 3, 3, 1, 1, 1, 1, 1, 1},
      {2, 7, 9, 4, 6, 3, 3, 2, 2, 1, 1, 1, 1},     {1, 6, 8, 3, 4, 3, 3, 2, 2, 0, 1, 0, 1},
      {2, 9, 8, 2, 3, 5, 3, 1, 3, 2, 1, 0, 2},     {1, 9, 9, 3, 4, 3, 3, 1, 1, 2, 2, 3, 3, 2, 3},
      {1, 6, 8, 3, 5, 4, 4, 2, 2, 1, 1, 1, 1},     {1, 8, 6, 18, 5, 3, 3, 2, 2, 1, 1, 1, 1},
      {1, 9, 9, 3, 2, 3, 2, 2, 3, 1, 1, 0, 1, 2, 3}, {2, 5, 5, 33, 34, 3, 3, 1, 1, 1, 1, 1, 1},
      {1, 5, 4, 17, 47, 1, 1},                     {1, 12, 12, 48, 48, 3, 3, 1, 1, 1, 1, 1, 1},
      {1, 11, 10, 8, 8, 7, 7, 1, 1, 3, 3, 3, 3},   {1, 3, 3, 5, 7, 3, 3, 1, 1, 4, 4, 4, 4},
      {1, 5, 6, 4, 5, 1, 1, 3, 2},                 {2, 16, 1, 20, 9, 3, 1, 1, 1, 1, 1, 0, 0},
      {1, 1, 30, 65, 2, 1, 5, 1, 1, 0, 0, 2, 2},   {0, 4, 4, 3, 5, 3, 3, 1, 1, 1, 1, 1, 1},
      {1, 32, 32, 64, 40, 3, 3, 1, 1, 1, 1, 1, 1}, {70, 8, 8, 2, 5, 3, 3, 1, 1, 1, 1, 1, 1},
      {1, 6, 6, 2, 3, 2, 2, 1, 1, 0, 0, 0, 0, 4, 5}};
  bool bias = false;
  for (const Geometry& g : geometries) checkConvolutions(g, random, bias = !bias);
  const int64_t channels[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 49, 64};
  for (int trial = 0; trial < trials;) {
    const auto channel = [&] { return channels[random.between(0, 16)]; };
    const Geometry g = {random.between(1, 6), random.between(1, 9), random.between(1, 9), channel(), channel(),
                        random.between(1, 4), random.between(1, 4), random.between(1, 3), random.between(1, 3),
                        random.between(0, 3), random.between(0, 3), random.between(0, 3), random.between(0, 3),
                        random.between(1, 3), random.between(1, 3)};
    if (!g.valid()) continue;
    checkConvolutions(g, random, trial % 2 == 0);
    trial++;
  }
}

void checkAllMatmuls(Random& random) {
  const int64_t sizes[][3] = {{128, 16, 16}, {128, 16, 32}, {128, 16, 64}, {7, 19, 37}, {33, 16, 48}, {1, 70, 33},
                              {5, 40, 18},   {4, 1, 16},    {130, 9, 21},  {1, 1, 1},   {40, 100, 1}, {65, 33, 3},
                              {12, 0, 5},    {20, 0, 130}, {0, 4, 4},     {97, 129, 70}, {3, 2500, 2}, {24, 1100, 40}, {300, 64, 530},
                              {17, 3000, 16}};
  bool bias = false;
  for (const auto& s : sizes)
    for (int t = 0; t < 4; t++) checkMatmul(s[0], s[1], s[2], t & 1, t & 2, bias = !bias, random);
  const Shape batches[][2] = {{{3}, {3}}, {{2, 1}, {3}}, {{}, {4}}, {{5}, {}}, {{2, 3}, {1, 1}}, {{1, 2}, {2, 1, 1}}, {{0}, {1}}};
  for (const auto& batch : batches)
    for (const auto& s : sizes)
      if (s[0] * s[1] * s[2] < 200'000)
        for (int t = 0; t < 4; t++)
          checkCase(batchedMatmulCase(batch[0], batch[1], s[0], s[1], s[2], t & 1, t & 2, bias = !bias, random));
  // More matrices than are packed at once, several to an item, and some of more than one item each.
  checkCase(batchedMatmulCase({700}, {700}, 3, 200, 40, false, false, true, random));
  checkCase(batchedMatmulCase({3}, {3}, 130, 70, 90, false, true, false, random));
}

void checkAllAttention(Random& random) {
  const DType none = DType::f32;
  checkAttention({2, 7, 11, 2, 5, 3, false, {}, none}, random);
  checkAttention({1, 1, 1, 1, 1, 1, false, {}, none}, random);
  checkAttention({3, 64, 64, 4, 16, 32, false, {}, none}, random);
  checkAttention({1, 100, 300, 2, 33, 40, true, {}, none}, random);
  checkAttention({1, 300, 270, 2, 20, 17, true, {1, 1, 300, 270}, DType::i32}, random);
  checkAttention({2, 50, 520, 1, 8, 8, false, {2, 1, 50, 520}, DType::f32}, random);
  checkAttention({2, 9, 37, 3, 4, 6, false, {3, 1, 37}, DType::i32}, random);
  checkAttention({2, 9, 37, 3, 4, 6, false, {9, 1}, DType::i32}, random);
  checkAttention({20, 5, 6, 2, 4, 4, false, {20, 1, 1, 6}, DType::f32}, random);
  checkAttention({2, 4, 0, 1, 4, 4, false, {}, none}, random);
  checkAttention({2, 0, 4, 1, 4, 4, false, {}, none}, random);
  checkAttention({1, 1100, 33, 2, 16, 8, false, {}, none}, random);
}

void checkAllPools(Random& random) {
  for (bool ties : {false, true}) {
    checkPool({2, 8, 8, 5, 2, 2, 2, 2}, random, ties);
    checkPool({1, 7, 5, 3, 2, 2, 2, 2}, random, ties);
    checkPool({2, 6, 7, 17, 3, 3, 2, 2, 1, 1, 1, 1}, random, ties);
    checkPool({1, 9, 4, 2, 3, 2, 2, 1, 0, 1, 1, 0}, random, ties);
    checkPool({3, 8, 8, 16, 2, 2, 2, 2}, random, ties);
    checkPool({1, 70, 66, 33, 3, 3, 1, 1, 1, 1, 1, 1}, random, ties);
    checkPool({1, 64, 64, 32, 5, 4, 3, 2, 2, 1, 2, 2}, random, ties);
  }
}

void checkAllEmbeddings(Random& random) {
  checkEmbedding(100, 16, {40}, random);
  checkEmbedding(5, 3, {4, 6}, random);
  checkEmbedding(9, 4, {}, random);
  checkEmbedding(7, 300, {90}, random);
  checkEmbedding(1000, 64, {2000}, random);
  checkEmbedding(3, 5, {0}, random);
}

}  // namespace

int main(int argc, char** argv) {
  Machine one(1), two(2), three(3), five(5);
  machines[0] = &one, machines[1] = &two, machines[2] = &three, machines[3] = &five;
  Random random(7);
  checkAllMatmuls(random);
  checkAllAttention(random);
  checkAllPools(random);
  checkAllEmbeddings(random);
  checkAllConvolutions(random, argc > 1 ? std::atoi(argv[1]) : 120);
  std::printf("%s: %d checks, %d failed\n", Registry::get().isa().c_str(), checks, failures);
  return failures > 0;
}
