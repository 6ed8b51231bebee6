// Checks attention and attentionGradient on CUDA.
#include "suite.h"

namespace langevin {
namespace cuda {
namespace {

enum class Masked { no, added, choosing };

struct Form {
  int64_t batch, queries, keys, heads, depth, width;
  bool causal = false;
  Masked mask = Masked::no;
};

std::string nameOf(const Form& f) {
  const char* const masks[] = {"", ", added mask", ", choosing mask"};
  return text({f.batch, f.queries, f.keys}) + " of " + text({f.heads, f.depth, f.width}) + (f.causal ? ", causal" : "") +
         masks[static_cast<int>(f.mask)];
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
};

// The weights of one query of one head; 0 where it may not look.
std::vector<double> weightsOf(const Form& f, const Data& d, int64_t image, int64_t head, int64_t query) {
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
void attend(const Form& f, const Data& d, int64_t image, int64_t head, int64_t query, std::vector<double>& y,
            std::vector<double>& gradients) {
  const std::vector<double> weights = weightsOf(f, d, image, head, query);
  const int64_t ofQuery = image * f.queries + query, deep = f.heads * f.depth, wide = f.heads * f.width;
  std::vector<double> slopes(weights.size(), 0.0);
  double mean = 0;
  for (int64_t key = 0; key < f.keys; key++)
    for (int64_t c = head * f.width; c < (head + 1) * f.width; c++) {
      const double value = d.v.at((image * f.keys + key) * wide + c), slope = d.dy.at(ofQuery * wide + c);
      y[ofQuery * wide + c] += weights[key] * value;
      gradients[d.q.size() + d.k.size() + (image * f.keys + key) * wide + c] += weights[key] * slope;
      slopes[key] += slope * value;
      mean += weights[key] * slope * value;
    }
  for (int64_t key = 0; key < f.keys; key++) {
    const double slope = weights[key] * (slopes[key] - mean) / std::sqrt(static_cast<double>(f.depth));
    for (int64_t c = head * f.depth; c < (head + 1) * f.depth; c++) {
      gradients[ofQuery * deep + c] += slope * static_cast<double>(d.k.at((image * f.keys + key) * deep + c));
      gradients[d.q.size() + (image * f.keys + key) * deep + c] += slope * static_cast<double>(d.q.at(ofQuery * deep + c));
    }
  }
}

void checkForm(const Form& f, Random& random) {
  const Data d(f, random);
  const DType ofMask = f.mask == Masked::choosing ? DType::i32 : DType::f32;
  const Words words = {static_cast<double>(f.heads), 1 / std::sqrt(static_cast<double>(f.depth)), double(f.causal)};
  const int64_t all = d.q.size() + d.k.size() + d.v.size();
  Case forward = {"attention " + nameOf(f), "attention", {d.q, d.k, d.v, d.mask}, {DType::f32, DType::f32, DType::f32, ofMask},
                  {true, true, true, true}, words, d.dy.shape(), std::vector<double>(static_cast<size_t>(d.dy.size()), 0.0), 2e-6};
  Case backward = {"attentionGradient " + nameOf(f), "attentionGradient", {d.q, d.k, d.v, d.dy, d.mask},
                   {DType::f32, DType::f32, DType::f32, DType::f32, ofMask}, {true, true, true, true, true}, words, {all},
                   std::vector<double>(static_cast<size_t>(all), 0.0), toleranceFor(static_cast<double>(f.width + 9))};
  for (int64_t image = 0; image < f.batch; image++)
    for (int64_t head = 0; head < f.heads; head++)
      for (int64_t query = 0; query < f.queries; query++) attend(f, d, image, head, query, forward.expected, backward.expected);
  check(forward);
  check(backward);
}

void checkAttention(Random& random, Effort effort) {
  checkForm({2, 9, 13, 2, 8, 4}, random);
  checkForm({1, 65, 65, 1, 5, 3}, random);                            // one beyond a tile, one channel at a time
  checkForm({1, 130, 70, 1, 36, 40, true}, random);                   // depth in two stages; keys that nobody sees
  checkForm({1, 12, 75, 1, 8, 132}, random);                          // values in several chunks
  checkForm({1, 7, 66, 1, 68, 8, false, Masked::added}, random);      // gradients of queries in several chunks
  checkForm({1, 67, 70, 1, 66, 70}, random);                          // and over several tiles
  checkForm({1, 5, 70, 1, 8, 68, true}, random);                      // a tile of keys that nobody sees
  checkForm({2, 66, 5, 2, 4, 4, true, Masked::choosing}, random);     // queries that may look nowhere
  for (int round = 2; round < effort.rounds; round += 3)
    checkForm({random.between(1, 2), random.between(1, 90), random.between(1, 90), random.between(1, 2), random.between(1, 40),
               random.between(1, 70), round % 2 == 0, round % 3 == 0 ? Masked::added : Masked::no},
              random);
}

CUDA_CHECKS("attention", checkAttention);

}  // namespace
}  // namespace cuda
}  // namespace langevin
