// Checks what runs along lines on CUDA: softmax, logSoftmax, layerNorm and their gradients, cumulative ops, quantile.
#include <algorithm>

#include "suite.h"

namespace langevin {
namespace cuda {
namespace {

struct Form {
  Shape shape;
  int64_t axis;
};

// Calls use(element of each place of a line) for all lines along the axis.
template <class F>
void eachLine(const Form& f, const F& use) {
  int64_t inner = 1;
  for (size_t i = static_cast<size_t>(f.axis) + 1; i < f.shape.size(); i++) inner *= f.shape[i];
  const int64_t n = f.shape[static_cast<size_t>(f.axis)], lines = sizeOf(f.shape) / n;
  std::vector<int64_t> line(static_cast<size_t>(n));
  for (int64_t l = 0; l < lines; l++) {
    for (int64_t i = 0; i < n; i++) line[static_cast<size_t>(i)] = (l / inner * n + i) * inner + l % inner;
    use(line);
  }
}

Case caseOf(const char* kernel, const Form& f, const std::vector<Tensor>& inputs, const Words& attributes, double tolerance) {
  return {std::string(kernel) + " of " + text(f.shape) + " along " + std::to_string(f.axis), kernel, inputs,
          std::vector<DType>(inputs.size(), DType::f32), std::vector<bool>(inputs.size(), true), attributes, f.shape,
          std::vector<double>(static_cast<size_t>(sizeOf(f.shape)), 0.0), tolerance};
}

double valueAt(const Tensor& x, int64_t i) { return static_cast<double>(x.at(i)); }

void checkSoftmax(const Form& f, Random& random) {
  Tensor x = Tensor::random(f.shape, random);
  const Tensor dy = Tensor::random(f.shape, random);
  for (int64_t i = 0; i < x.size(); i++) x.at(i) *= 30;
  const Words axis = {static_cast<double>(f.axis)};
  Case softmax = caseOf("softmax", f, {x}, axis, 1e-6), logSoftmax = caseOf("logSoftmax", f, {x}, axis, 1e-5);
  // The gradients take any y.
  const Tensor y = dy;
  Case ofSoftmax = caseOf("softmaxGradient", f, {y, x}, axis, 1e-4), ofLog = caseOf("logSoftmaxGradient", f, {y, x}, axis, 1e-3);
  eachLine(f, [&](const std::vector<int64_t>& line) {
    double sum = 0, products = 0, slopes = 0;
    for (int64_t i : line) {
      sum += std::exp(valueAt(x, i));
      products += valueAt(y, i) * valueAt(x, i);
      slopes += valueAt(x, i);
    }
    for (int64_t i : line) {
      softmax.expected[i] = std::exp(valueAt(x, i)) / sum;
      logSoftmax.expected[i] = valueAt(x, i) - std::log(sum);
      ofSoftmax.expected[i] = valueAt(y, i) * (valueAt(x, i) - products);
      ofLog.expected[i] = valueAt(x, i) - std::exp(valueAt(y, i)) * slopes;
    }
  });
  for (const Case& c : {softmax, logSoftmax, ofSoftmax, ofLog}) check(c);
}

constexpr double kEpsilon = 1e-5;

void checkLayerNorm(const Shape& shape, int64_t axes, bool center, bool weighted, Random& random) {
  const Tensor x = Tensor::random(shape, random), dy = Tensor::random(shape, random);
  const Shape own(shape.end() - axes, shape.end());
  const Tensor weight = weighted ? Tensor::random(own, random) : Tensor();
  const Tensor bias = weighted ? Tensor::random(own, random) : Tensor();
  const int64_t size = sizeOf(own), cells = x.size() / size;
  const Words words = {static_cast<double>(axes), kEpsilon, double(center)};
  Case forward = caseOf("layerNorm", {shape, axes}, {x, weight, bias}, words, 3e-6);
  Case backward = caseOf("layerNormGradient", {shape, axes}, {x, dy, weight}, words, toleranceFor(static_cast<double>(cells) + 9));
  backward.outputShape = {x.size() + 2 * size};
  backward.expected.assign(static_cast<size_t>(x.size() + 2 * size), 0.0);
  for (int64_t cell = 0; cell < cells; cell++) {
    const double n = static_cast<double>(size);
    const auto weightAt = [&](int64_t i) { return weighted ? valueAt(weight, i) : 1.0; };
    double mean = 0, squares = 0, gradients = 0, products = 0;
    for (int64_t i = 0; center && i < size; i++) mean += valueAt(x, cell * size + i) / n;
    for (int64_t i = 0; i < size; i++) squares += std::pow(valueAt(x, cell * size + i) - mean, 2) / n;
    const double scale = 1 / std::sqrt(squares + kEpsilon);
    const auto z = [&](int64_t i) { return (valueAt(x, cell * size + i) - mean) * scale; };
    for (int64_t i = 0; i < size; i++) {
      const double slope = valueAt(dy, cell * size + i), g = slope * weightAt(i);
      forward.expected[cell * size + i] = z(i) * weightAt(i) + (weighted ? valueAt(bias, i) : 0.0);
      gradients += center ? g / n : 0;
      products += g * z(i) / n;
      backward.expected[x.size() + i] += slope * z(i);
      backward.expected[x.size() + size + i] += slope;
    }
    for (int64_t i = 0; i < size; i++)
      backward.expected[cell * size + i] =
          scale * (valueAt(dy, cell * size + i) * weightAt(i) - gradients - z(i) * products);
  }
  check(forward);
  check(backward);
}

void checkCumulative(const Form& f, bool reverse, Random& random) {
  const Tensor x = Tensor::random(f.shape, random), dy = Tensor::random(f.shape, random);
  Tensor factors = x;
  for (int64_t i = 0; i < factors.size(); i++) factors.at(i) = 1 + 0.2f * factors.at(i);
  const double axis = static_cast<double>(f.axis);
  Case sums = caseOf("cumsum", f, {x}, {axis, double(reverse)}, 1e-5), products = caseOf("cumprod", f, {factors}, {axis}, 1e-4);
  Case slopes = caseOf("cumprodGradient", f, {factors, dy}, {axis}, 1e-3);
  eachLine(f, [&](const std::vector<int64_t>& line) {
    const size_t n = line.size();
    double sum = 0, product = 1, slope = 0;
    for (size_t k = 0; k < n; k++) {
      const int64_t i = line[reverse ? n - 1 - k : k];
      sums.expected[i] = sum += valueAt(x, i);
      slopes.expected[line[k]] = product;
      products.expected[line[k]] = product *= valueAt(factors, line[k]);
    }
    for (size_t k = n; k-- > 0;) {
      slope = valueAt(dy, line[k]) + (k + 1 < n ? valueAt(factors, line[k + 1]) * slope : 0);
      slopes.expected[line[k]] *= slope;
    }
  });
  for (const Case& c : {sums, products, slopes}) check(c);
}

void checkQuantile(const Shape& shape, double q, Random& random) {
  Tensor x = Tensor::random(shape, random);
  for (int64_t i = 0; i < x.size(); i += 3) x.at(i) = static_cast<float>(random.between(-2, 2));
  Case c = caseOf("quantile", {shape, 1}, {x}, {q}, 1e-7);
  c.outputShape = {shape[0]};
  c.expected.clear();
  eachLine({shape, 1}, [&](const std::vector<int64_t>& line) {
    std::vector<double> row;
    for (int64_t i : line) row.push_back(valueAt(x, i));
    std::sort(row.begin(), row.end());
    const double place = q * static_cast<double>(row.size() - 1);
    const size_t below = static_cast<size_t>(place), above = below + 1 < row.size() ? below + 1 : below;
    c.expected.push_back(row[below] + (place - static_cast<double>(below)) * (row[above] - row[below]));
  });
  check(c);
}

void checkLines(Random& random, Effort effort) {
  checkSoftmax({{3, 37}, 1}, random);        // a warp a line
  checkSoftmax({{2, 1100}, 1}, random);      // a block a line
  checkSoftmax({{3, 19, 5}, 1}, random);     // lines side by side
  checkSoftmax({{2, 9, 3, 41}, 1}, random);  // more of them than a block takes
  checkLayerNorm({5, 37}, 1, true, true, random);
  checkLayerNorm({300, 33}, 1, true, false, random);   // weights' gradients in parts
  checkLayerNorm({2, 3, 1031}, 1, false, true, random);  // a block a cell
  checkLayerNorm({3, 4, 6}, 2, true, true, random);
  checkCumulative({{3, 17}, 1}, false, random);
  checkCumulative({{601}, 0}, true, random);    // several tiles
  checkCumulative({{2, 20, 35}, 1}, true, random);
  checkQuantile({3, 37}, 0.9, random);
  checkQuantile({2, 601}, 0.5, random);
  checkQuantile({4, 1}, 1, random);
  for (int round = 1; round < effort.rounds; round++) {
    const Form f = {{random.between(1, 5), random.between(1, 60), random.between(1, 50)}, random.between(0, 2)};
    checkSoftmax(f, random);
    checkCumulative(f, round % 2 == 0, random);
    checkLayerNorm(f.shape, random.between(1, 2), round % 3 != 0, round % 2 == 0, random);
  }
}

CUDA_CHECKS("lines", checkLines);

}  // namespace
}  // namespace cuda
}  // namespace langevin
