// Checks the element-wise, reducing, moving, noise, loss, diffusion and update kernels against plain loops in double.
// The argument "thorough" draws more of the functions' range.
#include <functional>

#include "value_harness.h"

static float applyFloat(const std::string& op, float a, float b) {
  return op == "add" ? a + b : op == "sub" ? a - b : op == "mul" ? a * b : a / b;
}
static int32_t applyInt(const std::string& op, int64_t a, int64_t b) {
  const int64_t r = op == "add" ? a + b : op == "sub" ? a - b : op == "mul" ? a * b : b == 0 ? 0 : a / b;
  return static_cast<int32_t>(static_cast<uint32_t>(static_cast<uint64_t>(r)));
}

static const std::vector<std::pair<Shape, Shape>> pairs = {
    {{3, 5, 7}, {3, 5, 7}},
    {{4, 9}, {9}},
    {{5, 6}, {5, 1}},
    {{2, 3, 3, 6}, {2, 1, 1, 6}},
    {{4, 1, 3}, {5, 1}},
    {{}, {2, 3}},
    {{33}, {}},
    {{}, {}},
    {{2, 0, 3}, {3}},
    {{1, 1, 1}, {1}},
    {{7, 11, 64}, {64}},
    {{40, 40, 3}, {3}},
    {{2, 700}, {700}},
    {{2, 700}, {2, 1}},
    {{3, 20000}, {3, 1}},
    {{40000}, {1}},
    {{40001}, {40001}},
    {{2, 300, 3}, {2, 1, 3}},
    {{3, 1, 300}, {3, 4, 1}},
    {{2, 3, 2, 3, 2, 3, 2, 3}, {3, 1, 3, 1, 3, 1, 3}},
    {{5, 400}, {5, 400}},
    {{17, 5, 1}, {5, 1}},
    {{600, 1}, {600, 1}},
    {{1, 50, 50, 8}, {1, 1, 1, 8}},
};

static void checkArithmetic() {
  for (const auto& [sa, sb] : pairs)
    for (int flip = 0; flip < 2; flip++)
      for (const std::string op : {"add", "sub", "mul", "div"}) {
        const Shape shape = broadcastShape(sa, sb);
        const Value a = floats(flip ? sb : sa), b = floats(flip ? sa : sb);
        const Value out = empty(shape), outInt = empty(shape, DType::i32);
        const Shape ia = stridesIn(a.shape, shape), ib = stridesIn(b.shape, shape);
        const std::string what = op + " " + text(a.shape) + " " + text(b.shape);
        const Value y = run(op, {}, {a, b}, &out)[0];
        for (int64_t i = 0; i < y.size(); i++)
          expectFloat(what, y, i, applyFloat(op, a.f(offsetOf(i, shape, ia)), b.f(offsetOf(i, shape, ib))));
        Value ai = ints(a.shape, INT32_MIN, INT32_MAX), bi = ints(b.shape, -3, 4);
        if (ai.size() > 0) ai.words[0] = 0x80000000u;
        if (bi.size() > 0) bi.words[0] = 0xFFFFFFFFu;
        const Value yi = run(op, {}, {ai, bi}, &outInt)[0];
        for (int64_t i = 0; i < yi.size(); i++)
          expectInt(what + " int32", yi, i, applyInt(op, ai.i(offsetOf(i, shape, ia)), bi.i(offsetOf(i, shape, ib))));
      }
  for (const auto& [shape, from] : pairs) {
    if (broadcastShape(shape, from) != shape) continue;
    const Value x = floats(from), out = empty(shape);
    const Shape strides = stridesIn(from, shape);
    Words attributes{static_cast<double>(shape.size())};
    for (int64_t d : shape) attributes.push_back(static_cast<double>(d));
    const Value y = run("broadcastTo", attributes, {x}, &out)[0];
    for (int64_t i = 0; i < y.size(); i++)
      expectFloat("broadcastTo " + text(shape), y, i, x.f(offsetOf(i, shape, strides)));
    const Value xi = ints(shape, INT32_MIN, INT32_MAX), outInt = empty(shape, DType::i32);
    const Value n = run("neg", {}, {xi}, &outInt)[0];
    for (int64_t i = 0; i < n.size(); i++) expectInt("neg int32", n, i, applyInt("sub", 0, xi.i(i)));
  }
}

struct Function {
  std::string name;
  double (*of)(double x, double dy);
  double bound;  // in units of the last place
  bool second = false;
  Words attributes = {};
};

static double sigmoid(double x) { return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x)); }

static double cdf(double x) { return std::erfc(-x * std::sqrt(0.5)) / 2; }
static double density(double x) { return std::exp(-x * x / 2) / std::sqrt(8 * std::atan(1.0)); }
static double twiceU(double x) { return std::sqrt(2 / std::atan(1.0)) * (x + 0.044715 * x * x * x); }
static double tanhSoftplus(double x) { return std::tanh(std::log1p(std::exp(x))); }
// A product whose second factor's limit 0 outweighs an infinite first one.
static double fading(double x, double factor) { return factor == 0 ? std::copysign(0.0, x) : x * factor; }

constexpr double kSlope = 0.3f, kAlpha = 1.7;
// Computed in double and rounded once.
constexpr double kOnce = 0.51;

static const std::vector<Function> functions = {
    {"neg", [](double x, double) { return -x; }, 0},
    {"copy", [](double x, double) { return x; }, 0},
    {"sign", [](double x, double) { return x > 0   ? 1.0
                                           : x < 0 ? -1.0
                                                   : x; }, 0},
    {"abs", [](double x, double) { return std::fabs(x); }, 0},
    {"square", [](double x, double) { return x * x; }, 0.5},
    {"sqrt", [](double x, double) { return std::sqrt(x); }, 0.5},
    {"exp", [](double x, double) { return std::exp(x); }, 1.5},
    {"log", [](double x, double) { return std::log(x); }, 1.5},
    {"relu", [](double x, double) { return x > 0 || std::isnan(x) ? x : 0.0; }, 0},
    {"sigmoid", [](double x, double) { return sigmoid(x); }, 3},
    {"tanh", [](double x, double) { return std::tanh(x); }, 2.5},
    {"silu", [](double x, double) { return std::isinf(x) && x < 0 ? -0.0 : x * sigmoid(x); }, 3.5},
    {"reluGradient", [](double y, double dy) { return y > 0 ? dy : 0.0; }, 0, true},
    {"sigmoidGradient", [](double y, double dy) { return dy * y * (1 - y); }, 2.5, true},
    {"tanhGradient", [](double y, double dy) { return dy * (1 - y * y); }, 1e9, true},  // cancels near 1
    {"siluGradient",
     [](double x, double dy) {
       if (std::isinf(x)) return x > 0 ? dy : 0.0;
       return dy * sigmoid(x) * (1 + x * sigmoid(-x));
     },
     1e9, true},  // cancels near -1.28
    {"reciprocal", [](double x, double) { return 1 / x; }, 0.5},
    {"rsqrt", [](double x, double) { return 1 / std::sqrt(x); }, 1.5},
    {"floor", [](double x, double) { return std::floor(x); }, 0},
    {"ceil", [](double x, double) { return std::ceil(x); }, 0},
    {"round", [](double x, double) { return std::nearbyint(x); }, 0},
    {"expm1", [](double x, double) { return std::expm1(x); }, kOnce},
    {"log1p", [](double x, double) { return std::log1p(x); }, kOnce},
    {"sin", [](double x, double) { return std::sin(x); }, kOnce},
    {"cos", [](double x, double) { return std::cos(x); }, kOnce},
    {"erf", [](double x, double) { return std::erf(x); }, kOnce},
    {"erfGradient", [](double x, double dy) { return dy * std::exp(-x * x) / std::sqrt(std::atan(1.0)); }, kOnce, true},
    {"relu6", [](double x, double) { return x <= 0 ? 0.0 : x >= 6 ? 6.0 : x; }, 0},
    {"relu6Gradient", [](double y, double dy) { return y > 0 && y < 6 ? dy : 0.0; }, 0, true},
    {"leakyRelu", [](double x, double) { return x > 0 ? x : kSlope * x; }, 0.5, false, {kSlope}},
    {"leakyReluGradient", [](double x, double dy) { return x > 0 ? dy : kSlope * dy; }, 0.5, true, {kSlope}},
    {"elu", [](double x, double) { return x > 0 ? x : kAlpha * std::expm1(x); }, kOnce, false, {kAlpha}},
    {"eluGradient", [](double x, double dy) { return x > 0 ? dy : dy * kAlpha * std::exp(x); }, kOnce, true, {kAlpha}},
    {"gelu", [](double x, double) { return fading(x, cdf(x)); }, kOnce},
    {"geluGradient", [](double x, double dy) { return dy * (cdf(x) + fading(x, density(x))); }, 2, true},
    {"geluTanh", [](double x, double) { return fading(x, sigmoid(twiceU(x))); }, kOnce},
    {"geluTanhGradient",
     [](double x, double dy) {
       const double slope = std::sqrt(2 / std::atan(1.0)) * (1 + 3 * 0.044715 * x * x), s = sigmoid(twiceU(x));
       return dy * (s + (std::fabs(x) > 20 ? 0.0 : x * slope * s * sigmoid(-twiceU(x))));
     },
     kOnce, true},
    {"quickGelu", [](double x, double) { return fading(x, sigmoid(1.702 * x)); }, kOnce},
    {"quickGeluGradient",
     [](double x, double dy) {
       const double s = sigmoid(1.702 * x);
       return dy * (s + (std::isinf(x) ? 0.0 : 1.702 * x * s * sigmoid(-1.702 * x)));
     },
     kOnce, true},
    {"softplus", [](double x, double) { return (x > 0 ? x : 0.0) + std::log1p(std::exp(-std::fabs(x))); }, kOnce},
    {"mish", [](double x, double) { return fading(x, tanhSoftplus(x)); }, kOnce},
    {"mishGradient",
     [](double x, double dy) {
       const double t = tanhSoftplus(x);
       return dy * (t + fading(x, (1 - t * t) * sigmoid(x)));
     },
     kOnce, true},
    {"clamp", [](double x, double) { return x < -0.5 ? -0.5 : x > 2 ? 2.0 : x; }, 0, false, {-0.5, 2}},
    {"clampGradient", [](double x, double dy) { return x >= -0.5 && x <= 2 ? dy : 0.0; }, 0, true, {-0.5, 2}},
};

static void checkFunctions(bool thorough) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::nanf("");
  Value special = given({0.0f,
                         -0.0f,
                         1.0f,
                         -1.0f,
                         inf,
                         -inf,
                         nan,
                         -nan,
                         1e-45f,
                         -1e-45f,
                         1e-39f,
                         -1e-39f,
                         1.17549435e-38f,
                         3.4028235e38f,
                         -3.4028235e38f,
                         88.0f,
                         88.72283f,
                         88.72284f,
                         89.0f,
                         200.0f,
                         -87.0f,
                         -87.4f,
                         -88.0f,
                         -100.0f,
                         -103.0f,
                         -103.97f,
                         -104.0f,
                         -105.0f,
                         -200.0f,
                         100.0f,
                         9.0f,
                         9.02f,
                         -9.02f,
                         10.0f,
                         0.625f,
                         0.62499994f,
                         -0.625f,
                         1e-20f,
                         1e-4f,
                         17.0f,
                         -17.0f,
                         0.99999994f,
                         1.0000001f});
  // All exponents and signs, with significands that repeat only after the whole range.
  const uint32_t step = thorough ? 2053 : 262147;
  Value sweep = empty({static_cast<int64_t>(0xFFFFFFFFu / step)});
  for (int64_t i = 0; i < sweep.size(); i++) sweep.words[i] = static_cast<uint32_t>(i) * step;
  for (const Function& f : functions) {
    double worst = 0, worstAbsolute = 0;
    std::vector<Value> cases = {special, floats({2, 3, 5, 7}, -3, 3), floats({}, 0.5, 3), floats({3001}, -20, 20),
                                floats({3, 0})};
    if (f.second) cases.push_back(floats({70, 300}, 0, 1));
    else cases.push_back(sweep);
    for (const Value& x : cases) {
      Value dy = floats(x.shape);
      const Value out = empty(x.shape);
      std::vector<Value> inputs{x};
      if (f.second) inputs.push_back(dy);
      const Value y = run(f.name, f.attributes, inputs, &out)[0];
      for (int64_t i = 0; i < y.size(); i++) {
        const double want = f.of(x.f(i), dy.f(i)), distance = ulps(y.f(i), want);
        const bool gradient = f.bound > 1e8;
        if (!f.second && static_cast<float>(want) == 0 && y.f(i) == 0 && std::signbit(want) != std::signbit(y.f(i)))
          fail(f.name + "(" + std::to_string(x.f(i)) + ") is a zero of the wrong sign");
        // Where sigmoid is subnormal, silu inherits its few bits.
        const bool loose = f.bound > 2 && std::fabs(y.f(i) - want) < 2e-43;
        if (loose || static_cast<float>(want) == y.f(i)) continue;
        if (!gradient && distance > worst) worst = distance;
        if (gradient && std::isfinite(want))
          worstAbsolute = std::max(worstAbsolute, std::fabs(y.f(i) - want) / std::max(1.0, std::fabs(want)));
        if (!gradient && distance > f.bound)
          fail(f.name + "(" + std::to_string(x.f(i)) + ") is " + std::to_string(y.f(i)) + ", " +
               std::to_string(distance) + " ulp off");
        if (gradient && (std::isnan(want) != std::isnan(y.f(i)) ||
                         (std::isfinite(want) && !(std::fabs(y.f(i) - want) <= 4e-7 * std::max(1.0, std::fabs(want))))))
          fail(f.name + "(" + std::to_string(x.f(i)) + ") is " + std::to_string(y.f(i)) + ", expected " +
               std::to_string(want));
      }
    }
    std::printf("%-16s at most %.3f ulp, absolute error %.2g\n", f.name.c_str(), worst, worstAbsolute);
  }
  const Value one = given({10.0f, -10.0f, 20.0f, inf, -inf}), outOne = empty(one.shape);
  const Value t = run("tanh", {}, {one}, &outOne)[0];
  for (int i = 0; i < 5; i++) expectFloat("tanh is exactly 1", t, i, one.f(i) > 0 ? 1.0f : -1.0f);
}

static void checkPow() {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::nanf("");
  std::vector<float> ends = {0.0f, -0.0f, 1.0f, -1.0f, 2.0f,   -2.0f,       0.5f,        -0.5f,   3.0f,          -3.0f,
                             inf,  -inf,  nan,  1e-45f, -1e-45f, 3.4028235e38f, -3.4028235e38f, 16777215.0f, -16777215.0f,
                             16777216.0f, 8388607.5f, -8388607.5f, 0.99999994f, 1.0000001f, 127.5f, -127.0f, 10.0f};
  const int64_t n = static_cast<int64_t>(ends.size());
  Value a = given(ends), b = given(ends);
  a.shape = {n, 1};
  double worst = 0;
  const auto check = [&](const Value& left, const Value& right, const Shape& shape) {
    const Value out = empty(shape), y = run("pow", {}, {left, right}, &out)[0];
    const Shape ia = stridesIn(left.shape, shape), ib = stridesIn(right.shape, shape);
    for (int64_t i = 0; i < y.size(); i++) {
      const float u = left.f(offsetOf(i, shape, ia)), v = right.f(offsetOf(i, shape, ib));
      const double want = std::pow(static_cast<double>(u), static_cast<double>(v));
      const bool sign = std::isnan(want) || std::signbit(want) == std::signbit(y.f(i));
      if (static_cast<float>(want) == y.f(i) && sign) continue;
      const double distance = ulps(y.f(i), want);
      worst = std::max(worst, distance);
      if (!(distance <= kOnce) || !sign)
        fail("pow(" + std::to_string(u) + ", " + std::to_string(v) + ") is " + std::to_string(y.f(i)) + ", expected " +
             std::to_string(want));
    }
  };
  check(a, b, {n, n});
  check(floats({300, 1}, 0, 4), floats({700}, -20, 20), {300, 700});
  check(floats({40, 1}, -9, 9), given({-3, -2, -1, 0, 1, 2, 3, 4, 5, 17}), {40, 10});
  Value all = empty({20011});
  for (auto& word : all.words) word = randomWord();
  Value powers = all;
  for (auto& word : powers.words) word = randomWord();
  check(all, powers, all.shape);
  std::printf("%-16s at most %.3f ulp\n", "pow", worst);
}

static int32_t holds(const std::string& op, double a, double b) {
  if (op == "equal") return a == b;
  if (op == "notEqual") return a != b;
  if (op == "less") return a < b;
  if (op == "lessEqual") return a <= b;
  return op == "greater" ? a > b : a >= b;
}

static void checkSelection() {
  const float nan = std::nanf("");
  for (const auto& [sa, sb] : pairs)
    for (int flip = 0; flip < 2; flip++) {
      const Shape shape = broadcastShape(sa, sb);
      Value a = floats(flip ? sb : sa), b = floats(flip ? sa : sb);
      const Value ai = ints(a.shape, -2, 3), bi = ints(b.shape, -2, 3);
      for (int64_t i = 0; i < a.size(); i += 3) a.words[i] = i % 2 ? bits(0.25f) : bits(nan);
      for (int64_t i = 0; i < b.size(); i += 4) b.words[i] = i % 8 ? bits(0.25f) : bits(nan);
      const Shape ia = stridesIn(a.shape, shape), ib = stridesIn(b.shape, shape);
      const Value out = empty(shape), outInt = empty(shape, DType::i32);
      const std::string where = " " + text(a.shape) + " " + text(b.shape);
      for (const std::string op : {"equal", "notEqual", "less", "lessEqual", "greater", "greaterEqual"}) {
        const Value y = run(op, {}, {a, b}, &outInt)[0], yi = run(op, {}, {ai, bi}, &outInt)[0];
        for (int64_t i = 0; i < y.size(); i++) {
          const int64_t ka = offsetOf(i, shape, ia), kb = offsetOf(i, shape, ib);
          expectInt(op + where, y, i, holds(op, a.f(ka), b.f(kb)));
          expectInt(op + " int32" + where, yi, i, holds(op, ai.i(ka), bi.i(kb)));
        }
      }
      for (const bool larger : {true, false}) {
        const std::string op = larger ? "maximum" : "minimum";
        const Value y = run(op, {}, {a, b}, &out)[0], yi = run(op, {}, {ai, bi}, &outInt)[0];
        for (int64_t i = 0; i < y.size(); i++) {
          const int64_t ka = offsetOf(i, shape, ia), kb = offsetOf(i, shape, ib);
          const float u = a.f(ka), v = b.f(kb);
          expectFloat(op + where, y, i, std::isnan(u) || std::isnan(v) ? nan : larger ? std::max(u, v) : std::min(u, v));
          expectInt(op + " int32" + where, yi, i, larger ? std::max(ai.i(ka), bi.i(kb)) : std::min(ai.i(ka), bi.i(kb)));
        }
      }
      // The condition has either operand's shape.
      for (const Value& condition : {ai, bi}) {
        const Shape ic = stridesIn(condition.shape, shape);
        const Value y = run("where", {}, {condition, a, b}, &out)[0], yi = run("where", {}, {condition, ai, bi}, &outInt)[0];
        for (int64_t i = 0; i < y.size(); i++) {
          const int64_t ka = offsetOf(i, shape, ia), kb = offsetOf(i, shape, ib);
          const bool chosen = condition.i(offsetOf(i, shape, ic)) != 0;
          expectFloat("where" + where, y, i, chosen ? a.f(ka) : b.f(kb));
          expectInt("where int32" + where, yi, i, chosen ? ai.i(ka) : bi.i(kb));
        }
      }
    }
  const double inf = std::numeric_limits<double>::infinity();
  const Value x = ints({4099}, INT32_MIN, INT32_MAX), out = empty({4099}, DType::i32);
  if (run("clamp", {-inf, inf}, {x}, &out)[0].words != x.words) fail("clamp int32 without bounds");
  const Value y = run("clamp", {-1e9, 5}, {x}, &out)[0];
  for (int64_t i = 0; i < y.size(); i++) expectInt("clamp int32", y, i, std::max(-1000000000, std::min(5, x.i(i))));
}

static void checkCast() {
  const float inf = std::numeric_limits<float>::infinity();
  const Value x = given({0.0f, 0.9f, -0.9f, 1.5f, -2.5f, 2147483520.0f, 2147483648.0f, 1e20f, -2147483648.0f, -1e20f,
                         inf, -inf, std::nanf(""), 16777217.0f, -7.0f, 3.99f, 100.1f});
  const int32_t want[] = {0,         0,         0,         1, -2,       2147483520, INT32_MAX, INT32_MAX, INT32_MIN,
                          INT32_MIN, INT32_MAX, INT32_MIN, 0, 16777216, -7,         3,         100};
  const Value out = empty(x.shape, DType::i32);
  const Value y = run("cast", {1}, {x}, &out)[0];
  for (int64_t i = 0; i < y.size(); i++) expectInt("cast", y, i, want[i]);
  const Value xi = ints({5, 301}, INT32_MIN, INT32_MAX), outFloat = empty({5, 301});
  const Value yf = run("cast", {0}, {xi}, &outFloat)[0];
  for (int64_t i = 0; i < yf.size(); i++) expectFloat("cast", yf, i, static_cast<float>(xi.i(i)));
  const Value outInt = empty({5, 301}, DType::i32);
  if (run("cast", {1}, {xi}, &outInt)[0].words != xi.words) fail("cast int32 to int32");
  if (run("copy", {}, {xi}, &outInt)[0].words != xi.words) fail("copy int32");
}

static void checkReductions() {
  const std::vector<std::pair<Shape, std::vector<int64_t>>> cases = {
      {{3, 5, 2}, {0, 1, 2}},
      {{4, 3, 5}, {0}},
      {{3, 4, 7}, {2}},
      {{2, 5, 3, 4}, {1, 2}},
      {{3, 6, 7, 5}, {0, 1, 2}},
      {{3, 4, 6}, {0, 2}},
      {{2, 2500}, {1}},
      {{2100, 3}, {0}},
      {{3, 2}, {}},
      {{}, {}},
      {{1, 1}, {0, 1}},
      {{70000}, {0}},
      {{3, 40000}, {-1}},
      {{70000, 3}, {0}},
      {{3, 1100, 70}, {1}},
      {{2, 33, 40, 16}, {0, 1, 2}},
      {{2, 33, 40, 16}, {1, 2}},
      {{2, 33, 40, 130}, {0, 1, 2}},
      {{5, 1300}, {0}},
      {{1100, 1300}, {0}},
      {{33, 5, 47, 3}, {0, 2}},
      {{33, 5, 47, 70}, {0, 2}},
      {{33, 5, 47, 9}, {0, 2, 3}},
      {{2, 3, 2, 3, 2, 3, 2, 3}, {0, 2, 4, 6}},
      {{2, 3, 2, 3, 2, 3, 2, 3}, {1, 3, 5, 7}},
      {{4, 300, 1}, {1}},
      {{4, 300, 1}, {0}},
      {{0, 3}, {0}},
      {{3, 0}, {0}},
      {{3, 0}, {1}},
      {{1025}, {0}},
      {{7, 64, 64, 3}, {0, 1, 2}},
      {{9, 2, 2, 256}, {1, 2}},
      {{6, 5, 4}, {0, 1}},
  };
  for (const auto& [shape, axes] : cases)
    for (const std::string op : {"sum", "mean", "int32"})
      for (int keep = 0; keep < 2; keep++) {
        std::vector<bool> summed(shape.size(), false);
        for (int64_t axis : axes) summed[axis < 0 ? axis + shape.size() : axis] = true;
        Shape out, strides(shape.size(), 0);
        int64_t terms = 1, stride = 1;
        for (size_t i = 0; i < shape.size(); i++) {
          if (summed[i]) terms *= shape[i];
          if (!summed[i] || keep) out.push_back(summed[i] ? 1 : shape[i]);
        }
        for (size_t i = shape.size(); i-- > 0;)
          if (!summed[i]) {
            strides[i] = stride;
            stride *= shape[i];
          }
        Words attributes = attributeInts(axes);
        attributes.push_back(keep);
        const bool integer = op == "int32";
        const Value x = integer ? ints(shape, INT32_MIN, INT32_MAX) : floats(shape, -1, 1.5);
        const Value output = empty(out, x.dtype);
        const Value y = run(integer ? "sum" : op, attributes, {x}, &output)[0];
        std::vector<double> sums(y.size(), 0), sizes(y.size(), 0);
        std::vector<uint32_t> wrapped(y.size(), 0);
        for (int64_t i = 0; i < x.size(); i++) {
          const int64_t at = offsetOf(i, shape, strides);
          wrapped[at] += x.words[i];
          if (integer) continue;
          sums[at] += x.f(i);
          sizes[at] += std::fabs(x.f(i));
        }
        for (int64_t i = 0; i < y.size(); i++) {
          if (integer) {
            expectInt("sum int32 " + text(shape), y, i, static_cast<int32_t>(wrapped[i]));
            continue;
          }
          const double divisor = op == "mean" ? static_cast<double>(terms) : 1;
          const double want = sums[i] / divisor;
          // Pairwise sums err by a few roundings of the sum of magnitudes, whatever the number of terms.
          const double bound = (sizes[i] / divisor) * 6e-7 + 1e-30;
          if (std::isnan(want) ? !std::isnan(y.f(i)) : !(std::fabs(y.f(i) - want) <= bound))
            fail(op + " " + text(shape) + " at " + std::to_string(i) + ": got " + std::to_string(y.f(i)) +
                 ", expected " + std::to_string(want));
        }
      }
  // An image's sum must not depend on the batch that it is in.
  for (const Shape& image : {Shape{33, 40, 16}, Shape{4, 4, 256}, Shape{64, 64, 3}, Shape{1, 1, 700}}) {
    const Value batch = floats({5, image[0], image[1], image[2]});
    const Value sums = empty({5, image[2]}), one = empty({1, image[2]});
    const Words attributes{2, 1, 2, 0};
    const Value all = run("sum", attributes, {batch}, &sums)[0];
    const int64_t size = batch.size() / 5;
    for (int64_t k = 0; k < 5; k++) {
      Value single = empty({1, image[0], image[1], image[2]});
      std::copy(batch.words.begin() + k * size, batch.words.begin() + (k + 1) * size, single.words.begin());
      const Value alone = run("sum", attributes, {single}, &one)[0];
      for (int64_t c = 0; c < image[2]; c++)
        expectFloat("sum of an image in a batch", alone, c, all.f(k * image[2] + c));
    }
  }
}

static void checkMoves() {
  const std::vector<std::pair<Shape, std::vector<int64_t>>> permutations = {
      {{33, 17}, {1, 0}},
      {{2, 3, 4, 5}, {0, 2, 3, 1}},
      {{3, 2, 5}, {1, 0, 2}},
      {{3, 4}, {-1, -2}},
      {{}, {}},
      {{7}, {0}},
      {{2, 130, 3}, {0, 2, 1}},
      {{2, 3, 130}, {0, 2, 1}},
      {{100, 90}, {1, 0}},
      {{2, 40, 3, 50}, {0, 3, 2, 1}},
      {{3, 0, 2}, {2, 1, 0}},
      {{2, 3, 2, 3, 2, 3, 2, 3}, {7, 5, 3, 1, 0, 2, 4, 6}},
      {{2, 50, 4, 33}, {0, 2, 1, 3}},
      {{300, 200}, {1, 0}},
      {{9, 1, 20}, {2, 1, 0}},
  };
  for (const auto& [shape, axes] : permutations) {
    Shape out, source = stridesIn(shape, shape), strides;
    for (int64_t axis : axes) {
      const size_t a = axis < 0 ? axis + shape.size() : axis;
      out.push_back(shape[a]);
      strides.push_back(source[a]);
    }
    const Value x = floats(shape), output = empty(out);
    const Value y = run("permute", attributeInts(axes), {x}, &output)[0];
    for (int64_t i = 0; i < y.size(); i++) expectFloat("permute " + text(shape), y, i, x.f(offsetOf(i, out, strides)));
  }
  struct Slice {
    Shape shape, starts, stops, steps;
  };
  const std::vector<Slice> slices = {
      {{2, 3, 3, 8}, {0, 0, 0, 2}, {2, 3, 3, 7}, {1, 1, 1, 1}},
      {{7, 9}, {1, 0}, {7, 9}, {2, 3}},
      {{4, 2}, {2, 0}, {2, 2}, {1, 1}},
      {{40, 700}, {3, 5}, {38, 690}, {3, 1}},
      {{2, 20000}, {0, 7}, {2, 19000}, {1, 1}},
      {{3, 40000}, {1, 3}, {3, 39990}, {1, 7}},
      {{5, 6, 7}, {1, 2, 3}, {4, 6, 4}, {2, 3, 1}},
      {{50}, {10}, {45}, {4}},
      {{}, {}, {}, {}},
      {{5, 4}, {0, 1}, {5, 1}, {1, 1}},
  };
  for (const Slice& s : slices) {
    Shape out;
    for (size_t i = 0; i < s.shape.size(); i++) out.push_back((s.stops[i] - s.starts[i] + s.steps[i] - 1) / s.steps[i]);
    Shape strides = stridesIn(s.shape, s.shape);
    int64_t start = 0;
    for (size_t i = 0; i < strides.size(); i++) {
      if (s.shape[i] == 1) strides[i] = 1;
      start += s.starts[i] * strides[i];
      strides[i] *= s.steps[i];
    }
    Words attributes = attributeInts(s.starts), stops = attributeInts(s.stops), steps = attributeInts(s.steps);
    attributes.insert(attributes.end(), stops.begin(), stops.end());
    attributes.insert(attributes.end(), steps.begin(), steps.end());
    const Value x = floats(s.shape), output = empty(out);
    const Value y = run("slice", attributes, {x}, &output)[0];
    Words back = attributeInts(s.shape), starts = attributeInts(s.starts);
    back.insert(back.end(), starts.begin(), starts.end());
    back.insert(back.end(), steps.begin(), steps.end());
    const Value dy = floats(out), whole = empty(s.shape);
    back.push_back(0);
    const Value dx = run("place", back, {dy}, &whole)[0];
    std::vector<float> want(dx.size(), 0.0f);
    for (int64_t i = 0; i < y.size(); i++) {
      const int64_t at = start + offsetOf(i, out, strides);
      expectFloat("slice " + text(s.shape), y, i, x.f(at));
      want[at] = dy.f(i);
    }
    for (int64_t i = 0; i < dx.size(); i++) expectFloat("place " + text(s.shape), dx, i, want[i]);
  }
  const std::vector<std::pair<std::vector<Shape>, int64_t>> joins = {
      {{{2, 3, 3, 4}, {2, 3, 3, 6}}, 3},
      {{{1, 5}, {2, 5}, {3, 5}}, 0},
      {{{2, 1, 3}, {2, 4, 3}}, -2},
      {{{4}}, 0},
      {{{2, 0}, {2, 3}, {2, 1}}, 1},
      {{{30, 40, 7}, {30, 40, 3}}, 2},
      {{{2, 20000}, {2, 300}}, 1},
      {{{3}, {4}, {5}, {6}, {1}, {2}, {3}, {1}, {1}, {2}, {7}, {9}, {3}, {1}, {1}, {1}, {8}, {2}}, 0},
  };
  for (const auto& [shapes, signedAxis] : joins) {
    const size_t axis = signedAxis < 0 ? signedAxis + shapes[0].size() : signedAxis;
    Shape out = shapes[0];
    out[axis] = 0;
    std::vector<Value> inputs;
    for (const Shape& shape : shapes) {
      out[axis] += shape[axis];
      inputs.push_back(floats(shape));
    }
    const Value output = empty(out);
    const Value y = run("concat", {static_cast<double>(signedAxis)}, inputs, &output)[0];
    int64_t inner = 1, outer = 1, done = 0;
    for (size_t i = 0; i < out.size(); i++) (i < axis ? outer : inner) *= out[i];
    for (const Value& x : inputs) {
      const int64_t block = outer == 0 ? 0 : x.size() / outer;
      for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < block; i++)
          expectFloat("concat " + text(out), y, o * inner + done + i, x.f(o * block + i));
      done += block;
    }
  }
}

// The noise of element e of row `row`.
static noise::Counter counterOf(int64_t e, int64_t row, uint32_t draw, uint32_t image, uint32_t step) {
  return {static_cast<uint32_t>(e / 4), draw, image + static_cast<uint32_t>(row), step};
}

static void checkNoise() {
  const uint64_t seed = 0xfedcba9876543210ull;
  const uint32_t draw = 3, image = 7, step = 11;
  const Words counter{static_cast<double>(seed & 0xFFFFFFFFu), static_cast<double>(seed >> 32), draw, image, step};
  for (const Shape& shape : {Shape{3, 5, 7}, Shape{2, 4096}, Shape{}, Shape{37}, Shape{1, 64, 64, 3}, Shape{3, 1},
                             Shape{5, 1030}, Shape{0, 3}, Shape{2, 17, 9}, Shape{1, 50001}}) {
    const int64_t rows = shape.empty() ? 1 : shape[0];
    const Value out = empty(shape), outInt = empty(shape, DType::i32);
    const int64_t perRow = rows == 0 ? 0 : out.size() / rows;
    Words head = attributeInts(shape), typed;
    typed = head;
    typed.push_back(0);
    typed.insert(typed.end(), counter.begin(), counter.end());
    const Value z = run("randn", typed, {}, &out)[0];
    typed.insert(typed.end(), {-0.3, 0.7});
    const Value u = run("rand", typed, {}, &out)[0];
    head.insert(head.end(), counter.begin(), counter.end());
    Words wide = head;
    head.insert(head.end(), {-5, 1000});
    wide.insert(wide.end(), {-2147483648.0, 2147483647.0});
    const Value x = floats(shape);
    Words chance{0.3};
    chance.insert(chance.end(), counter.begin(), counter.end());
    const Value kept = run("dropout", chance, {x}, &out)[0];
    const Value n = run("randint", head, {}, &outInt)[0], w = run("randint", wide, {}, &outInt)[0];
    for (int64_t i = 0; i < out.size(); i++) {
      const noise::Counter at = counterOf(i % perRow, i / perRow, draw, image, step);
      const int k = static_cast<int>(i % perRow % 4);
      const uint32_t word = noise::philox(at, seed).v[k];
      expectFloat("randn " + text(shape), z, i, noise::normal4(at, seed).v[k]);
      const float low = -0.3f, range = 0.7f - low, product = range * (static_cast<float>(word >> 8) / 16777216.0f);
      expectFloat("rand " + text(shape), u, i, low + product);
      const bool stays = (word >> 8) / 16777216.0 >= 0.3;
      expectFloat("dropout " + text(shape), kept, i, stays ? x.f(i) * static_cast<float>(1 / (1 - 0.3)) : 0);
      expectInt("randint " + text(shape), n, i,
                static_cast<int32_t>(-5 + static_cast<int64_t>(static_cast<uint64_t>(word) * 1005 >> 32)));
      expectInt(
          "randint wide", w, i,
          static_cast<int32_t>(INT32_MIN + static_cast<int64_t>(static_cast<uint64_t>(word) * 4294967295ull >> 32)));
    }
  }
}

static void checkDiffusion() {
  const uint64_t seed = 77;
  const Words counter{static_cast<double>(seed), 0, 4, 3, 12};
  for (const Shape& shape : {Shape{5, 3, 3, 3}, Shape{6, 7}, Shape{5}, Shape{1, 64, 64, 3}, Shape{2, 130, 131},
                             Shape{0, 3}, Shape{9, 5, 1}}) {
    const Value x = floats(shape, -3, 3), e = floats(shape, -3, 3), z = floats(shape, -3, 3), out = empty(shape);
    Value t = ints({shape[0]}, -1, 5);  // -1 and 4 lie outside of the table
    const Value table = floats({4, 3}, 0, 1), pair = floats({4, 2}, 0, 1);
    const int64_t perImage = shape[0] == 0 ? 0 : x.size() / shape[0];
    const Value noisy = run("addNoise", {}, {x, e, t, pair}, &out)[0];
    Value absent = empty({0});
    absent.shape = {-1};
    const Value drawn = run("ddpmStep", counter, {x, e, t, table}, &out)[0];
    const Value stepped = run("ddpmStep", counter, {x, e, t, table, z}, &out)[0];
    for (int64_t i = 0; i < x.size(); i++) {
      const int32_t step = t.i(i / perImage);
      float forward = std::nanf(""), own = forward, other = forward;
      if (step >= 0 && step < 4) {
        const float a = pair.f(2 * step) * x.f(i), b = pair.f(2 * step + 1) * e.f(i);
        forward = a + b;
        const float d = table.f(3 * step + 1) * e.f(i), mean = table.f(3 * step) * (x.f(i) - d),
                    sigma = table.f(3 * step + 2);
        const float noise = noise::normal4(counterOf(i % perImage, i / perImage, 4, 3, 12), seed).v[i % perImage % 4];
        const float ownNoise = sigma * noise, otherNoise = sigma * z.f(i);
        own = step == 0 ? mean : mean + ownNoise;
        other = step == 0 ? mean : mean + otherNoise;
      }
      expectFloat("addNoise " + text(shape), noisy, i, forward);
      expectFloat("ddpmStep drawn " + text(shape), drawn, i, own);
      expectFloat("ddpmStep given " + text(shape), stepped, i, other);
    }
  }
}

static void checkLoss() {
  for (const Shape& shape :
       {Shape{4, 8, 8, 3}, Shape{37}, Shape{5, 1001}, Shape{}, Shape{200, 301}, Shape{0, 3}, Shape{3, 40000}})
    for (int sum = 0; sum < 2; sum++) {
      const Value p = floats(shape), t = floats(shape), dy = floats({}), scalar = empty({}), out = empty(shape);
      const Value loss = run("mseLoss", {static_cast<double>(sum)}, {p, t}, &scalar)[0];
      double total = 0;
      for (int64_t i = 0; i < p.size(); i++)
        total += (static_cast<double>(p.f(i)) - t.f(i)) * (static_cast<double>(p.f(i)) - t.f(i));
      const double want = sum ? total : total / static_cast<double>(p.size());
      if (std::isnan(want) ? !std::isnan(loss.f(0)) : !(std::fabs(loss.f(0) - want) <= 6e-7 * want))
        fail("mseLoss " + text(shape) + ": got " + std::to_string(loss.f(0)) + ", expected " + std::to_string(want));
      const Value g = run("mseLossGradient", {static_cast<double>(sum)}, {p, t, dy}, &out)[0];
      const float scale = static_cast<float>(2.0 * dy.f(0) / (sum ? 1.0 : static_cast<double>(p.size())));
      for (int64_t i = 0; i < g.size(); i++) expectFloat("mseLossGradient", g, i, (p.f(i) - t.f(i)) * scale);
    }
}

static void checkSgd(const Value& p, const Value& g) {
  const double lr = 0.1, momentum = 0.9, dampening = 0.3, decay = 0.1;
  const float rate = static_cast<float>(lr), stay = static_cast<float>(momentum), enter = static_cast<float>(1 - dampening),
              shrink = static_cast<float>(decay);
  const Value velocity = floats(p.shape);
  const Value plain = run("sgd", {lr, 0, 0, 0, decay}, {p, g}, nullptr, {0})[0];
  const std::vector<Value> heavy = run("sgd", {lr, momentum, dampening, 0, decay}, {p, g, velocity}, nullptr, {0, 2});
  const std::vector<Value> ahead = run("sgd", {lr, momentum, dampening, 1, decay}, {p, g, velocity}, nullptr, {0, 2});
  for (int64_t i = 0; i < p.size(); i++) {
    const float decayed = shrink * p.f(i), slope = g.f(i) + decayed, step = rate * slope;
    const float stays = stay * velocity.f(i), enters = enter * slope, next = stays + enters, nextStep = rate * next;
    const float beyond = stay * next, look = slope + beyond, lookStep = rate * look;
    expectFloat("sgd", plain, i, p.f(i) - step);
    expectFloat("sgd momentum", heavy[0], i, p.f(i) - nextStep);
    expectFloat("sgd velocity", heavy[1], i, next);
    expectFloat("sgd nesterov", ahead[0], i, p.f(i) - lookStep);
  }
}

static void checkEma(const Value& average, const Value& source) {
  for (const double weight : {0.0, 1e-4, 0.25, 0.5, 0.75, 1.0}) {
    const Value after = run("ema", {weight}, {average, source}, nullptr, {0})[0];
    const float near = static_cast<float>(1 - weight), far = static_cast<float>(weight);
    for (int64_t i = 0; i < average.size(); i++) {
      const float way = average.f(i) - source.f(i);
      const float fromSource = near * way, fromAverage = far * way;
      expectFloat("ema", after, i, weight < 0.5 ? average.f(i) - fromAverage : source.f(i) + fromSource);
    }
    if (weight == 1 && after.words != source.words) fail("ema of weight 1");
  }
}

static void checkRmsprop(const Value& p, const Value& g, bool centered, bool heavy) {
  const double lr = 0.01, alpha = 0.9, epsilon = 1e-8, decay = 0.1, momentum = 0.9;
  const float stay = static_cast<float>(alpha), enter = static_cast<float>(1 - alpha);
  const Value square = floats(p.shape, 0, 1), mean = floats(p.shape), velocity = floats(p.shape);
  std::vector<int> writes{0, 2};
  if (centered) writes.push_back(3);
  if (heavy) writes.push_back(4);
  const std::vector<Value> after = run("rmsprop", {lr, alpha, epsilon, decay, momentum},
                                       {p, g, square, centered ? mean : kAbsent, heavy ? velocity : kAbsent}, nullptr, writes);
  for (int64_t i = 0; i < p.size(); i++) {
    const float decayed = static_cast<float>(decay) * p.f(i), slope = g.f(i) + decayed;
    const float s1 = stay * square.f(i), s2 = enter * slope, s3 = s2 * slope, nextSquare = s1 + s3;
    const float m1 = stay * mean.f(i), nextMean = m1 + s2, meanSquare = nextMean * nextMean;
    // Of these means and squares some do not belong together: the variance is held at 0.
    const float variance = centered ? std::fmax(nextSquare - meanSquare, 0.0f) : nextSquare;
    const float divisor = std::sqrt(variance) + static_cast<float>(epsilon), change = slope / divisor;
    const float v1 = static_cast<float>(momentum) * velocity.f(i), faster = v1 + change;
    const float step = static_cast<float>(lr) * (heavy ? faster : change);
    expectFloat("rmsprop", after[0], i, p.f(i) - step);
    expectFloat("rmsprop square", after[1], i, nextSquare);
    if (centered) expectFloat("rmsprop mean", after[2], i, nextMean);
    if (heavy) expectFloat("rmsprop velocity", after.back(), i, faster);
  }
}

static void checkUpdates() {
  for (const Shape& shape :
       {Shape{2, 3, 5}, Shape{4099}, Shape{}, Shape{7, 300}, Shape{0}, Shape{40000}, Shape{3, 20001}}) {
    const Value target = floats(shape), source = floats(shape), ti = ints(shape, 0, 9), si = ints(shape, 0, 9);
    if (run("assign", {}, {target, source}, nullptr, {0})[0].words != source.words) fail("assign");
    if (run("assign", {}, {ti, si}, nullptr, {0})[0].words != si.words) fail("assign int32");
    const Value sum = run("accumulate", {}, {target, source}, nullptr, {0})[0];
    for (int64_t i = 0; i < sum.size(); i++) expectFloat("accumulate", sum, i, target.f(i) + source.f(i));
    for (int mode = 0; mode < 4; mode++) {
      const double decay = mode == 0 ? 0 : 0.1, lr = 0.01, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
      const double stepSize = lr / (1 - std::pow(beta1, 3)), correction = std::sqrt(1 - std::pow(beta2, 3));
      const bool decoupled = mode == 2, amsgrad = mode == 3;
      const Value m = floats(shape), v = floats(shape, 0, 1), largest = floats(shape, 0, 1);
      std::vector<Value> operands{target, source, m, v};
      std::vector<int> writes{0, 2, 3};
      if (amsgrad) {
        operands.push_back(largest);
        writes.push_back(4);
      }
      const std::vector<Value> after =
          run("adam", {lr, beta1, beta2, epsilon, decay, decoupled ? 1.0 : 0.0, stepSize, correction}, operands, nullptr,
              writes);
      for (int64_t i = 0; i < m.size(); i++) {
        float p = target.f(i), g = source.f(i);
        if (decay != 0 && !decoupled) {
          const float decayed = static_cast<float>(decay) * p;
          g = g + decayed;
        }
        if (decoupled) p = p * static_cast<float>(1 - lr * decay);
        const float m1 = static_cast<float>(beta1) * m.f(i), m2 = static_cast<float>(1 - beta1) * g, moment = m1 + m2;
        const float v1 = static_cast<float>(beta2) * v.f(i), v2 = static_cast<float>(1 - beta2) * g, v3 = v2 * g,
                    variance = v1 + v3;
        const float held = amsgrad ? std::fmax(largest.f(i), variance) : variance;
        const float root = std::sqrt(held) / static_cast<float>(correction),
                    divisor = root + static_cast<float>(epsilon);
        const float step = static_cast<float>(stepSize) * (moment / divisor);
        expectFloat("adam parameter", after[0], i, p - step);
        expectFloat("adam m", after[1], i, moment);
        expectFloat("adam v", after[2], i, variance);
        if (amsgrad) expectFloat("adam vMax", after[3], i, held);
      }
    }
    checkEma(target, source);
    checkSgd(target, source);
    for (int mode = 0; mode < 4; mode++) checkRmsprop(target, source, mode & 1, mode & 2);
  }
}

int main(int argc, char** argv) {
  const bool thorough = argc > 1 && std::strcmp(argv[1], "thorough") == 0;
  checkArithmetic();
  checkFunctions(thorough);
  checkPow();
  checkSelection();
  checkCast();
  checkReductions();
  checkMoves();
  checkNoise();
  checkDiffusion();
  checkLoss();
  checkUpdates();
  return finish();
}
