// Checks the kernels that work along axes against plain loops in double: softmax, running sums and products, picking and
// adding by index, normalisation.
#include "value_harness.h"

// A shape as lines along an axis: element i of line (o, k) is (o * n + i) * inner + k.
struct Lines {
  Shape shape;
  int64_t axis;
  int64_t outer = 1, n, inner = 1;

  Lines(const Shape& shape, int64_t axis) : shape(shape), axis(axis) {
    const int64_t at = axis < 0 ? axis + static_cast<int64_t>(shape.size()) : axis;
    n = shape[at];
    for (int64_t i = 0; i < static_cast<int64_t>(shape.size()); i++)
      if (i != at) (i < at ? outer : inner) *= shape[i];
  }

  // Calls f(place) for every line, where place(i) is its element i.
  template <class F>
  void each(const F& f) const {
    for (int64_t o = 0; o < outer; o++)
      for (int64_t k = 0; k < inner; k++) f([=](int64_t i) { return (o * n + i) * inner + k; });
  }
};

static const std::vector<Lines> lineCases = {
    {{7}, 0},           {{5, 1}, 1},        {{5, 1}, 0},         {{3, 37}, -1},      {{4, 2500}, 1},    {{2, 1, 33}, -1},
    {{9, 35}, 0},       {{3, 5, 2, 7}, 1},  {{2100, 3}, 0},      {{2, 6, 3, 700}, 1}, {{300, 70, 2}, 0}, {{3, 40, 150}, -1},
    {{0, 3}, 1},        {{3, 0}, 0},        {{130, 1, 1}, 0},    {{2, 20011}, 1},    {{600, 300}, 0},   {{2, 3, 1, 5}, 2},
    {{40, 3, 2, 1}, 1}, {{1, 257, 129}, 1}, {{2, 2, 2, 2, 2}, 2}};

static void expectNear(const std::string& what, const Value& got, int64_t i, double want, double bound) {
  if (!(std::fabs(got.f(i) - want) <= bound))
    fail(what + " at " + std::to_string(i) + ": got " + std::to_string(got.f(i)) + ", expected " + std::to_string(want));
}

static void checkSoftmax() {
  for (const Lines& lines : lineCases) {
    const Words axis{static_cast<double>(lines.axis)};
    const Value x = floats(lines.shape, -9, 9), dy = floats(lines.shape), out = empty(lines.shape);
    const std::string where = " " + text(lines.shape) + " along " + std::to_string(lines.axis);
    const Value y = run("softmax", axis, {x}, &out)[0], log = run("logSoftmax", axis, {x}, &out)[0];
    const Value dx = run("softmaxGradient", axis, {y, dy}, &out)[0];
    const Value dlog = run("logSoftmaxGradient", axis, {log, dy}, &out)[0];
    lines.each([&](const auto& at) {
      double sum = 0, slopes = 0, weighted = 0, sizes = 0;
      for (int64_t i = 0; i < lines.n; i++) {
        sum += std::exp(x.f(at(i)));
        slopes += dy.f(at(i));
        weighted += static_cast<double>(y.f(at(i))) * dy.f(at(i));
        sizes += std::fabs(dy.f(at(i)));
      }
      for (int64_t i = 0; i < lines.n; i++) {
        const double want = std::exp(x.f(at(i))) / sum, kept = y.f(at(i));
        expectNear("softmax" + where, y, at(i), want, 2e-6 * want);
        expectNear("logSoftmax" + where, log, at(i), std::log(want), 4e-6);
        expectNear("softmaxGradient" + where, dx, at(i), kept * (dy.f(at(i)) - weighted), 2e-6 * kept);
        const double power = std::exp(static_cast<double>(log.f(at(i))));
        expectNear("logSoftmaxGradient" + where, dlog, at(i), dy.f(at(i)) - power * slopes, 2e-6 * (1 + power * sizes));
      }
    });
  }
}

// Carried in double and rounded when stored, so known exactly; int32 wraps around.
static void checkCumulative() {
  for (const Lines& lines : lineCases) {
    const double axis = static_cast<double>(lines.axis);
    const Value x = floats(lines.shape), near1 = floats(lines.shape, 0.7, 1.3), dy = floats(lines.shape);
    const Value whole = ints(lines.shape, INT32_MIN, INT32_MAX), out = empty(lines.shape);
    const Value outInt = empty(lines.shape, DType::i32);
    const std::string where = " " + text(lines.shape) + " along " + std::to_string(lines.axis);
    for (int reverse = 0; reverse < 2; reverse++) {
      const Value y = run("cumsum", {axis, static_cast<double>(reverse)}, {x}, &out)[0];
      const Value n = run("cumsum", {axis, static_cast<double>(reverse)}, {whole}, &outInt)[0];
      lines.each([&](const auto& at) {
        double total = 0;
        uint32_t wrapped = 0;
        for (int64_t k = 0; k < lines.n; k++) {
          const int64_t i = at(reverse ? lines.n - 1 - k : k);
          expectFloat("cumsum" + where, y, i, static_cast<float>(total += x.f(i)));
          expectInt("cumsum int32" + where, n, i, static_cast<int32_t>(wrapped += whole.words[i]));
        }
      });
    }
    const Value y = run("cumprod", {axis}, {near1}, &out)[0], dx = run("cumprodGradient", {axis}, {near1, dy}, &out)[0];
    lines.each([&](const auto& at) {
      std::vector<double> before(lines.n + 1, 1.0);
      for (int64_t i = 0; i < lines.n; i++) {
        before[i + 1] = before[i] * near1.f(at(i));
        expectFloat("cumprod" + where, y, at(i), static_cast<float>(before[i + 1]));
      }
      double after = 0;
      for (int64_t i = lines.n - 1; i >= 0; i--) {
        after += dy.f(at(i));
        const double want = before[i] * after;  // the product before i is held in float32
        expectNear("cumprodGradient" + where, dx, at(i), want, 1.3e-7 * std::fabs(want) + 1e-45 * (1 + std::fabs(after)));
        after *= near1.f(at(i));
      }
    });
  }
}

// Every line picks from, or adds to, one of `size` elements; indices from -2 to size + 1.
static void checkIndexing() {
  for (const Lines& lines : lineCases)
    for (int64_t size : {int64_t{1}, lines.n, 2 * lines.n + 3}) {
      if (size == 0) continue;
      Shape wide = lines.shape;
      wide[lines.axis < 0 ? lines.axis + wide.size() : lines.axis] = size;
      const Value index = ints(lines.shape, -2, size + 2), x = floats(wide), xi = ints(wide, INT32_MIN, INT32_MAX);
      const Value source = floats(lines.shape), sourceInt = ints(lines.shape, INT32_MIN, INT32_MAX);
      const Value out = empty(lines.shape), outInt = empty(lines.shape, DType::i32);
      const Value sum = empty(wide), sumInt = empty(wide, DType::i32);
      const double axis = static_cast<double>(lines.axis);
      Words scatter = attributeInts(wide);
      scatter.insert(scatter.begin(), axis);
      const std::string where = " " + text(lines.shape) + " of " + text(wide);
      const Value y = run("gather", {axis}, {x, index}, &out)[0], yi = run("gather", {axis}, {xi, index}, &outInt)[0];
      const Value s = run("scatterAdd", scatter, {index, source}, &sum)[0];
      const Value si = run("scatterAdd", scatter, {index, sourceInt}, &sumInt)[0];
      std::vector<float> sums(s.size(), 0.0f);
      std::vector<uint32_t> wrapped(s.size(), 0);
      for (int64_t o = 0; o < lines.outer; o++)
        for (int64_t i = 0; i < lines.n; i++)
          for (int64_t k = 0; k < lines.inner; k++) {
            const int64_t at = (o * lines.n + i) * lines.inner + k, picked = index.i(at);
            const bool inside = picked >= 0 && picked < size;
            const int64_t from = (o * size + picked) * lines.inner + k;
            expectFloat("gather" + where, y, at, inside ? x.f(from) : std::nanf(""));
            expectInt("gather int32" + where, yi, at, inside ? xi.i(from) : INT32_MIN);
            if (!inside) continue;
            sums[from] += source.f(at);
            wrapped[from] += sourceInt.words[at];
          }
      for (int64_t i = 0; i < s.size(); i++) {
        expectFloat("scatterAdd" + where, s, i, sums[i]);
        expectInt("scatterAdd int32" + where, si, i, static_cast<int32_t>(wrapped[i]));
      }
    }
}

// What is normalised together: element k of cell c lies at place(c, k) and has the weight number weight(c, k).
template <class Place, class Weight>
static void checkNorm(const std::string& name, const Words& attributes, const Shape& shape, const Shape& weightShape,
                      int64_t cells, double epsilon, bool center, const Place& place, const Weight& weight) {
  const Value x = floats(shape, -1, 3), dy = floats(shape), w = floats(weightShape), b = floats(weightShape);
  const Value out = empty(shape), flat = empty({x.size() + 2 * w.size()});
  const int64_t size = cells == 0 ? 0 : x.size() / cells;
  for (const bool weighted : {true, false}) {
    const std::string where = " " + text(shape) + " of " + std::to_string(cells) + (weighted ? " cells, weight" : " cells");
    const Value& scales = weighted ? w : kAbsent;
    const Value y = run(name, attributes, {x, scales, weighted ? b : kAbsent}, &out)[0];
    const Value all = run(name + "Gradient", attributes, {x, dy, scales}, &flat)[0];
    std::vector<double> ofWeight(w.size(), 0), ofBias(w.size(), 0), sizes(w.size(), 0);
    for (int64_t c = 0; c < cells; c++) {
      const auto at = [&](int64_t k) { return place(c, k); };
      const auto weightOf = [&](int64_t k) { return weighted ? w.f(weight(c, k)) : 1.0; };
      double mean = 0, squares = 0, gradients = 0, products = 0;
      for (int64_t k = 0; k < size && center; k++) mean += x.f(at(k)) / static_cast<double>(size);
      for (int64_t k = 0; k < size; k++) squares += (x.f(at(k)) - mean) * (x.f(at(k)) - mean);
      const double scale = 1 / std::sqrt(squares / static_cast<double>(size) + epsilon);
      const auto normalised = [&](int64_t k) { return (x.f(at(k)) - mean) * scale; };
      for (int64_t k = 0; k < size; k++) {
        gradients += dy.f(at(k)) * weightOf(k) / static_cast<double>(size);
        products += dy.f(at(k)) * weightOf(k) * normalised(k) / static_cast<double>(size);
      }
      for (int64_t k = 0; k < size; k++) {
        const double z = normalised(k), g = dy.f(at(k));
        expectNear(name + where, y, at(k), z * weightOf(k) + (weighted ? b.f(weight(c, k)) : 0), 3e-6);
        const double dx = scale * (g * weightOf(k) - (center ? gradients : 0) - z * products);
        expectNear(name + "Gradient" + where, all, at(k), dx, 3e-6 * std::max(1.0, scale));
        ofWeight[weight(c, k)] += g * z;
        ofBias[weight(c, k)] += g;
        sizes[weight(c, k)] += std::fabs(g) * std::max(1.0, std::fabs(z));
      }
    }
    for (int64_t k = 0; k < w.size(); k++) {
      expectNear(name + " weight gradient" + where, all, x.size() + k, ofWeight[k], 2e-6 * (1 + sizes[k]));
      expectNear(name + " bias gradient" + where, all, x.size() + w.size() + k, ofBias[k], 2e-6 * (1 + sizes[k]));
    }
  }
}

static void checkGroupNorm() {
  const std::vector<std::pair<Shape, int64_t>> cases = {
      {{2, 4, 5, 6}, 3},   {{3, 8}, 2},        {{2, 5, 4, 7}, 7},     {{20, 3, 7, 51}, 17}, {{1, 50, 41, 33}, 11},
      {{17, 9, 40, 64}, 32}, {{2, 300, 140}, 2}, {{16, 280, 130}, 13}, {{2, 257, 1}, 1},     {{0, 4, 6}, 2},
      {{2, 0, 3}, 3},      {{1, 1, 1, 5}, 1},  {{600, 2, 3}, 1}};
  for (const auto& [shape, groups] : cases) {
    const int64_t channels = shape.back(), width = channels / groups;
    int64_t pixels = 1;
    for (size_t i = 1; i + 1 < shape.size(); i++) pixels *= shape[i];
    const auto channel = [=, groups = groups](int64_t c, int64_t k) { return c % groups * width + k % width; };
    const auto place = [=, groups = groups](int64_t c, int64_t k) {
      return (c / groups * pixels + k / width) * channels + channel(c, k);
    };
    checkNorm("groupNorm", {static_cast<double>(groups), 1e-5}, shape, {channels}, shape[0] * groups, 1e-5, true, place,
              channel);
  }
}

static void checkLayerNorm() {
  const std::vector<std::pair<Shape, int64_t>> cases = {
      {{2, 5, 8}, 1}, {{5, 3, 7}, 2}, {{3, 6}, 2},     {{37}, 1},       {{130, 47}, 1},  {{3, 2500}, 1},
      {{4, 0}, 1},    {{0, 5}, 1},    {{200, 5, 9}, 2}, {{65, 300}, 1}, {{2, 17000}, 1}, {{1, 3, 2, 1}, 3}};
  for (const auto& [shape, axes] : cases)
    for (const bool center : {true, false}) {
      const Shape weightShape(shape.end() - axes, shape.end());
      int64_t cells = 1, size = 1;
      for (size_t i = 0; i < shape.size(); i++) (i + axes < shape.size() ? cells : size) *= shape[i];
      checkNorm("layerNorm", {static_cast<double>(axes), 1e-6, center ? 1.0 : 0.0}, shape, weightShape, cells, 1e-6, center,
                [=](int64_t c, int64_t k) { return c * size + k; }, [](int64_t, int64_t k) { return k; });
    }
}

int main() {
  checkSoftmax();
  checkCumulative();
  checkIndexing();
  checkGroupNorm();
  checkLayerNorm();
  return finish();
}
