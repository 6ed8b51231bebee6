// attention and attentionGradient with random operands, and what they give in double precision from operands as a precision
// rounds them.
//
// On tensor cores weights (and the gradients of scores) are rounded, too, once they are known, so by at most `unit` of each: a
// sum of what they are multiplied with is off by no more than that part of the sum of magnitudes, which is computed beside it.
#pragma once

#include <algorithm>
#include <array>

#include "../core/precision.h"
#include "cases.h"

namespace langevin {

enum class Masked { no, added, choosing };

struct Form {
  int64_t batch, queries, keys, heads, depth, width;
  bool causal = false;
  Masked mask = Masked::no;
};

inline std::string nameOf(const Form& f) {
  const char* const masks[] = {"", ", added mask", ", choosing mask"};
  return text({f.batch, f.queries, f.keys}) + " of " + text({f.heads, f.depth, f.width}) + (f.causal ? ", causal" : "") +
         masks[static_cast<int>(f.mask)];
}

struct Rounding {
  const char* name;
  float (*round)(float);
  double unit;  // of operands that are rounded: half the distance between 1 and the next number; 0: none is
};

inline Rounding roundingOf(Precision precision) {
  switch (precision) {
    case Precision::tf32: return {"tf32 ", inTf32, 1.0 / 2048};
    case Precision::bf16: return {"bf16 ", inBf16, 1.0 / 256};
    default: return {"", asItIs, 0};
  }
}

struct Data {
  Tensor q, k, v, dy, mask;

  Data(const Form& f, Random& random)
      : q(Tensor::random({f.batch, f.queries, f.heads * f.depth}, random)),
        k(Tensor::random({f.batch, f.keys, f.heads * f.depth}, random)),
        v(Tensor::random({f.batch, f.keys, f.heads * f.width}, random)),
        dy(Tensor::random({f.batch, f.queries, f.heads * f.width}, random)) {
    // One for all heads.
    if (f.mask != Masked::no) mask = Tensor::random({f.batch, 1, f.queries, f.keys}, random);
    for (int64_t i = 0; f.mask == Masked::choosing && i < mask.size(); i++)
      mask.intAt(i) = static_cast<int32_t>(random.between(0, 1));
  }

  Data rounded(float (*round)(float)) const {
    Data d = *this;
    for (Tensor* t : {&d.q, &d.k, &d.v, &d.dy}) storeAs(*t, round);
    return d;
  }
};

// Sums, and those of the magnitudes of what they add up.
struct Sums {
  std::vector<double> values, magnitudes;

  explicit Sums(int64_t count) : values(static_cast<size_t>(count), 0.0), magnitudes(values) {}
  void add(int64_t at, double x) {
    values[static_cast<size_t>(at)] += x;
    magnitudes[static_cast<size_t>(at)] += std::fabs(x);
  }
  double largest() const { return magnitudes.empty() ? 0 : *std::max_element(magnitudes.begin(), magnitudes.end()); }
};

// The weights of one query of one head; 0 where it may not look.
inline std::vector<double> weightsOf(const Form& f, const Data& d, int64_t image, int64_t head, int64_t query) {
  std::vector<double> weights(static_cast<size_t>(f.keys), 0.0);
  double sum = 0;
  for (int64_t key = 0; key < f.keys; key++) {
    const int64_t at = (image * f.queries + query) * f.keys + key;
    if (f.causal && key > query) continue;
    if (f.mask == Masked::choosing && const_cast<Tensor&>(d.mask).intAt(at) == 0) continue;
    double score = 0;
    for (int64_t c = head * f.depth; c < (head + 1) * f.depth; c++)
      score += static_cast<double>(d.q.at((image * f.queries + query) * f.heads * f.depth + c)) *
               static_cast<double>(d.k.at((image * f.keys + key) * f.heads * f.depth + c));
    score = score / std::sqrt(static_cast<double>(f.depth)) + (f.mask == Masked::added ? static_cast<double>(d.mask.at(at)) : 0);
    sum += weights[static_cast<size_t>(key)] = std::exp(score);
  }
  for (double& weight : weights) weight = sum == 0 ? 0 : weight / sum;
  return weights;
}

// Adds to y, dq, dk and dv what one query of one head has to do with them; places are those of the flat output.
inline void attend(const Form& f, const Data& d, int64_t image, int64_t head, int64_t query, Sums& y, Sums& gradients) {
  const std::vector<double> weights = weightsOf(f, d, image, head, query);
  const int64_t ofQuery = image * f.queries + query, deep = f.heads * f.depth, wide = f.heads * f.width;
  std::vector<double> slopes(weights.size(), 0.0);
  double mean = 0;
  for (int64_t key = 0; key < f.keys; key++)
    for (int64_t c = head * f.width; c < (head + 1) * f.width; c++) {
      const double value = d.v.at((image * f.keys + key) * wide + c), slope = d.dy.at(ofQuery * wide + c);
      y.add(ofQuery * wide + c, weights[key] * value);
      gradients.add(d.q.size() + d.k.size() + (image * f.keys + key) * wide + c, weights[key] * slope);
      slopes[key] += slope * value;
      mean += weights[key] * slope * value;
    }
  for (int64_t key = 0; key < f.keys; key++) {
    const double slope = weights[key] * (slopes[key] - mean) / std::sqrt(static_cast<double>(f.depth));
    for (int64_t c = head * f.depth; c < (head + 1) * f.depth; c++) {
      gradients.add(ofQuery * deep + c, slope * static_cast<double>(d.k.at((image * f.keys + key) * deep + c)));
      gradients.add(d.q.size() + (image * f.keys + key) * deep + c, slope * static_cast<double>(d.q.at(ofQuery * deep + c)));
    }
  }
}

// Both ops, from operands that are not rounded yet.
inline std::array<Case, 2> attentionCases(const Form& f, Precision precision, const Data& given) {
  const Rounding rounding = roundingOf(precision);
  const Data d = given.rounded(rounding.round);
  Sums y(d.dy.size()), gradients(d.q.size() + d.k.size() + d.v.size());
  for (int64_t image = 0; image < f.batch; image++)
    for (int64_t head = 0; head < f.heads; head++)
      for (int64_t query = 0; query < f.queries; query++) attend(f, d, image, head, query, y, gradients);

  const DType ofMask = f.mask == Masked::choosing ? DType::i32 : DType::f32;
  const Words words = {static_cast<double>(f.heads), 1 / std::sqrt(static_cast<double>(f.depth)), double(f.causal)};
  return {{{rounding.name + ("attention " + nameOf(f)), "attention", {given.q, given.k, given.v, given.mask},
            {DType::f32, DType::f32, DType::f32, ofMask}, {true, true, true, true}, words, d.dy.shape(), y.values,
            2e-6 + rounding.unit * y.largest()},
           {rounding.name + ("attentionGradient " + nameOf(f)), "attentionGradient",
            {given.q, given.k, given.v, given.dy, given.mask}, {DType::f32, DType::f32, DType::f32, DType::f32, ofMask},
            {true, true, true, true, true}, words, {static_cast<int64_t>(gradients.values.size())}, gradients.values,
            toleranceFor(static_cast<double>(f.width + 9)) + rounding.unit * gradients.largest()}}};
}

}  // namespace langevin
