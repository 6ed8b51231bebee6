// Checks reductions and losses on CUDA.
#include "suite.h"

namespace langevin {
namespace cuda {
namespace {

struct Form {
  Shape shape;
  std::vector<int64_t> axes;
  bool keepDims;
};

Words wordsOf(const Form& f) {
  Words words = {static_cast<double>(f.axes.size())};
  for (int64_t axis : f.axes) words.push_back(static_cast<double>(axis));
  words.push_back(f.keepDims);
  return words;
}

bool isReduced(const Form& f, size_t axis) {
  for (int64_t reduced : f.axes)
    if (reduced == static_cast<int64_t>(axis)) return true;
  return false;
}

Shape reducedShape(const Form& f) {
  Shape shape;
  for (size_t i = 0; i < f.shape.size(); i++) {
    if (!isReduced(f, i)) shape.push_back(f.shape[i]);
    else if (f.keepDims) shape.push_back(1);
  }
  return shape;
}

// The output that element i goes to.
int64_t outputOf(const Form& f, int64_t i) {
  int64_t output = 0, size = 1;
  for (size_t axis = f.shape.size(); axis-- > 0; i /= f.shape[axis]) {
    if (isReduced(f, axis)) continue;
    output += i % f.shape[axis] * size;
    size *= f.shape[axis];
  }
  return output;
}

// The elements of each output, in their order.
std::vector<std::vector<int64_t>> termsOf(const Form& f) {
  std::vector<std::vector<int64_t>> terms(static_cast<size_t>(sizeOf(reducedShape(f))));
  for (int64_t i = 0; i < sizeOf(f.shape); i++) terms[static_cast<size_t>(outputOf(f, i))].push_back(i);
  return terms;
}

double sumOf(const std::vector<double>& x) {
  double sum = 0;
  for (double value : x) sum += value;
  return sum;
}

double largestOf(const std::vector<double>& x) {
  double largest = x[0];
  for (double value : x) largest = value > largest ? value : largest;
  return largest;
}

double varianceOf(const std::vector<double>& x) {
  const double n = static_cast<double>(x.size()), mean = sumOf(x) / n;
  double squares = 0;
  for (double value : x) squares += (value - mean) * (value - mean);
  return squares / n;
}

double logSumExpOf(const std::vector<double>& x) {
  double sum = 0;
  for (double value : x) sum += std::exp(value);
  return std::log(sum);
}

double normOf(const std::vector<double>& x) {
  double squares = 0;
  for (double value : x) squares += value * value;
  return std::sqrt(squares);
}

void checkReduction(const char* kernel, const Form& f, const Tensor& x, double (*reduce)(const std::vector<double>&), double tolerance,
                    const Words& more = {}) {
  const Shape shape = reducedShape(f);
  Case c = {std::string(kernel) + " of " + text(f.shape) + " over " + text(f.axes), kernel, {x}, {DType::f32}, {true},
            join({wordsOf(f), more}), shape, {}};
  for (const std::vector<int64_t>& terms : termsOf(f)) {
    std::vector<double> values;
    for (int64_t i : terms) values.push_back(static_cast<double>(x.at(i)));
    c.expected.push_back(reduce(values));
  }
  c.tolerance = tolerance;
  check(c);
}

// Ties are frequent: the first of equals counts.
void checkExtremeGradient(const Form& f, bool isMin, Random& random) {
  Tensor x(f.shape);
  for (int64_t i = 0; i < x.size(); i++) x.at(i) = static_cast<float>(random.between(-5, 5));
  const Tensor dy = Tensor::random(reducedShape(f), random);
  Case c = {std::string("extremeGradient of ") + text(f.shape) + " over " + text(f.axes), "extremeGradient", {x, dy},
            {DType::f32, DType::f32}, {true, true}, join({wordsOf(f), {double(isMin)}}), f.shape,
            std::vector<double>(static_cast<size_t>(x.size()), 0.0)};
  const auto all = termsOf(f);
  for (size_t output = 0; output < all.size(); output++) {
    int64_t first = all[output][0];
    for (int64_t i : all[output])
      if (isMin ? x.at(i) < x.at(first) : x.at(i) > x.at(first)) first = i;
    c.expected[static_cast<size_t>(first)] = static_cast<double>(dy.at(static_cast<int64_t>(output)));
  }
  check(c);
}

void checkForm(const Form& f, Random& random) {
  const Tensor x = Tensor::random(f.shape, random);
  const double terms = static_cast<double>(sizeOf(f.shape)) / static_cast<double>(sizeOf(reducedShape(f)));
  const double root = std::sqrt(terms) + 1;
  checkReduction("sum", f, x, sumOf, 1e-6 * root);
  checkReduction("mean", f, x, [](const std::vector<double>& v) { return sumOf(v) / static_cast<double>(v.size()); }, 1e-6);
  checkReduction("max", f, x, largestOf, 0);
  checkReduction("min", f, x, [](const std::vector<double>& v) {
    double least = v[0];
    for (double value : v) least = value < least ? value : least;
    return least;
  }, 0);
  checkReduction("variance", f, x, varianceOf, 1e-7, {0});
  checkReduction("logSumExp", f, x, logSumExpOf, 1e-6 * (1 + std::log(terms)));
  checkReduction("norm", f, x, normOf, 1e-7 * root);
  checkExtremeGradient(f, terms > 9, random);
}

// float32 loses such sums unless they are added up in a tree.
void checkLongSum(Random&) {
  const Form f = {{3'000'000}, {0}, false};
  Tensor x(f.shape);
  for (int64_t i = 0; i < x.size(); i++) x.at(i) = 0.1f;
  checkReduction("sum", f, x, sumOf, 0.05);
}

void checkLoss(const Shape& shape, bool mean, Random& random) {
  const Tensor prediction = Tensor::random(shape, random), target = Tensor::random(shape, random);
  const Tensor slope = Tensor::random({}, random);
  const int64_t n = prediction.size();
  Case loss = {"mseLoss of " + text(shape), "mseLoss", {prediction, target}, {DType::f32, DType::f32}, {true, true},
               {double(!mean)}, {}, {0.0}};
  const double dy = static_cast<double>(slope.at(0)), divisor = mean ? static_cast<double>(n) : 1.0;
  std::vector<double> gradient;
  for (int64_t i = 0; i < n; i++) {
    const double d = static_cast<double>(prediction.at(i)) - static_cast<double>(target.at(i));
    loss.expected[0] += d * d / divisor;
    gradient.push_back(2 * dy * d / divisor);
  }
  loss.tolerance = 1e-6 * (mean ? 1 : std::sqrt(static_cast<double>(n)) + 1);
  check(loss);

  // The op writes to two operands: here one behind the other.
  Case both = {"mseLossWithGradient of " + text(shape), "mseLossWithGradient", {prediction, target, slope},
               {DType::f32, DType::f32, DType::f32}, {true, true, false}, {double(!mean)}, {n + 1}, loss.expected};
  both.expected.insert(both.expected.end(), gradient.begin(), gradient.end());
  both.tolerance = loss.tolerance;
  check(both, [](Command& c, Launch& launch) {
    Operand value, slopes = c.inputs[0];
    value.data = c.output.data;
    slopes.data = c.output.as<float>() + 1;
    slopes.pitch = slopes.cols();
    Operand inputs[] = {value, slopes, c.inputs[0], c.inputs[1], c.inputs[2]};
    Command command;
    command.inputs = inputs;
    command.inputCount = 5;
    command.attributes = c.attributes;
    run("mseLossWithGradient", command, launch);
  });
}

void checkReductions(Random& random, Effort effort) {
  checkForm({{7, 5}, {1}, false}, random);            // a few lanes a row
  checkForm({{3, 300}, {1}, true}, random);           // a warp a row
  checkForm({{2, 9001}, {1}, false}, random);         // rows in parts
  checkForm({{1100, 3}, {0}, false}, random);         // narrow columns
  checkForm({{2, 600, 70}, {1}, false}, random);      // columns in parts
  checkForm({{3, 4, 5, 6}, {1, 3}, true}, random);    // what is reduced lies apart
  checkForm({{4, 3, 5, 2}, {0, 2}, false}, random);
  checkForm({{40, 41}, {0, 1}, false}, random);       // everything
  checkForm({{3, 4}, {}, false}, random);             // nothing
  if (effort.rounds > 1) checkLongSum(random);
  checkLoss({37}, false, random);
  checkLoss({5, 1001}, true, random);
  checkLoss({3, 4, 1000}, true, random);
  for (int round = 1; round < effort.rounds; round++)
    checkForm({{random.between(1, 9), random.between(1, 70), random.between(1, 40)}, {random.between(0, 2)},
               random.between(0, 1) == 0},
              random);
}

CUDA_CHECKS("reductions", checkReductions);

}  // namespace
}  // namespace cuda
}  // namespace langevin
