// Checks groupNorm and groupNormGradient on CUDA, and both with SiLU in the same pass.
#include "../../cuda/kernels/group_norm.cuh"
#include "rounded.h"
#include "suite.h"

namespace langevin {
namespace cuda {
namespace {

struct Form {
  Shape shape;
  int64_t groups;
  bool weight;
  float mean = 0, spread = 1;  // of x
};

std::string nameOf(const Form& f) {
  return text(f.shape) + " in " + std::to_string(f.groups) + " groups" + (f.weight ? "" : " without weight");
}

struct GroupMoments {
  double mean, scale;
};

constexpr double kEpsilon = 1e-5;

// Calls f(element, group of its image, channel) for all elements of one image.
template <class F>
void eachOf(const Form& f, int64_t image, const F& use) {
  const int64_t channels = f.shape.back(), size = sizeOf(f.shape) / f.shape[0];
  for (int64_t i = 0; i < size; i++) use(image * size + i, i % channels / (channels / f.groups), i % channels);
}

std::vector<GroupMoments> momentsOf(const Form& f, const Tensor& x, int64_t image) {
  std::vector<GroupMoments> groups(static_cast<size_t>(f.groups), {0, 0});
  const double count = static_cast<double>(sizeOf(f.shape) / f.shape[0] / f.groups);
  eachOf(f, image, [&](int64_t i, int64_t g, int64_t) { groups[g].mean += static_cast<double>(x.at(i)) / count; });
  eachOf(f, image, [&](int64_t i, int64_t g, int64_t) {
    const double d = static_cast<double>(x.at(i)) - groups[g].mean;
    groups[g].scale += d * d / count;
  });
  for (GroupMoments& group : groups) group.scale = 1 / std::sqrt(group.scale + kEpsilon);
  return groups;
}

struct Data {
  Tensor x, dy, weight, bias;

  Data(const Form& f, Random& random)
      : x(Tensor::random(f.shape, random)), dy(Tensor::random(f.shape, random)) {
    for (int64_t i = 0; i < x.size(); i++) x.at(i) = f.mean + f.spread * x.at(i);
    if (!f.weight) return;
    weight = Tensor::random({f.shape.back()}, random);
    bias = Tensor::random({f.shape.back()}, random);
  }
  double weightAt(int64_t c) const { return weight.present() ? static_cast<double>(weight.at(c)) : 1; }
  double biasAt(int64_t c) const { return bias.present() ? static_cast<double>(bias.at(c)) : 0; }
};

// Rounding x to float32 moves z by this much.
double conditionOf(const Form& f) { return 1 + std::fabs(static_cast<double>(f.mean / f.spread)) * 0.5; }

Case forwardCase(const Form& f, const Data& d, bool silu) {
  Case c = {(silu ? "groupNorm and SiLU " : "groupNorm ") + nameOf(f), "groupNorm",
            {d.x, d.weight, d.bias}, {DType::f32, DType::f32, DType::f32}, {true, false, false},
            {static_cast<double>(f.groups), kEpsilon}, f.shape, std::vector<double>(static_cast<size_t>(d.x.size()))};
  for (int64_t image = 0; image < f.shape[0]; image++) {
    const std::vector<GroupMoments> groups = momentsOf(f, d.x, image);
    eachOf(f, image, [&](int64_t i, int64_t g, int64_t channel) {
      const double u = (static_cast<double>(d.x.at(i)) - groups[g].mean) * groups[g].scale * d.weightAt(channel) +
                       d.biasAt(channel);
      c.expected[i] = silu ? u / (1 + std::exp(-u)) : u;
    });
  }
  c.tolerance = 2e-6 * conditionOf(f);
  return c;
}

Case gradientCase(const Form& f, const Data& d) {
  const int64_t channels = f.shape.back(), size = d.x.size();
  Case c = {"groupNormGradient " + nameOf(f), "groupNormGradient", {d.x, d.dy, d.weight},
            {DType::f32, DType::f32, DType::f32}, {true, true, false},
            {static_cast<double>(f.groups), kEpsilon}, {size + 2 * channels},
            std::vector<double>(static_cast<size_t>(size + 2 * channels), 0.0)};
  const double count = static_cast<double>(size / f.shape[0] / f.groups);
  for (int64_t image = 0; image < f.shape[0]; image++) {
    const std::vector<GroupMoments> groups = momentsOf(f, d.x, image);
    const auto z = [&](int64_t i, int64_t g) { return (static_cast<double>(d.x.at(i)) - groups[g].mean) * groups[g].scale; };
    std::vector<double> gradients(groups.size(), 0.0), products(groups.size(), 0.0);
    eachOf(f, image, [&](int64_t i, int64_t g, int64_t channel) {
      const double dz = static_cast<double>(d.dy.at(i)) * d.weightAt(channel);
      gradients[g] += dz / count;
      products[g] += dz * z(i, g) / count;
      c.expected[size + channel] += static_cast<double>(d.dy.at(i)) * z(i, g);
      c.expected[size + channels + channel] += static_cast<double>(d.dy.at(i));
    });
    eachOf(f, image, [&](int64_t i, int64_t g, int64_t channel) {
      const double dz = static_cast<double>(d.dy.at(i)) * d.weightAt(channel);
      c.expected[i] = groups[g].scale * (dz - gradients[g] - z(i, g) * products[g]);
    });
  }
  c.tolerance = toleranceFor(static_cast<double>(size / channels)) * conditionOf(f) / f.spread;
  return c;
}

GroupNorm normOf(Command& command, const Operand& weight, const Operand& bias) {
  const Operand& x = command.inputs[0];
  return {x.as<const float>(), x.pitch, weight.as<const float>(), bias.as<const float>(), x.shape[0],
          x.rows() / x.shape[0], static_cast<int>(x.cols()), static_cast<int>(command.attributes.i()), kEpsilon};
}

void checkForm(const Form& f, Random& random) {
  const Data d(f, random);
  check(forwardCase(f, d, false));
  check(gradientCase(f, d));
  check(forwardCase(f, d, true), [](Command& c, Launch& launch) {
    normaliseGroups(normOf(c, c.inputs[1], c.inputs[2]), {{{c.output.as<float>(), c.output.pitch}, {}}, true, {}}, launch);
  });
  // All at once: what is before the activation, and what is rounded after it, go to memory with rows of their own.
  std::vector<float> before(static_cast<size_t>(d.x.size()));
  check(forwardCase(f, d, true), [&](Command& c, Launch& launch) {
    Rounded rounded(c.output);
    normaliseGroups(normOf(c, c.inputs[1], c.inputs[2]),
                    {{{c.output.as<float>(), c.output.pitch}, rounded.target()}, true, {before.data(), c.output.cols()}}, launch);
    expect(rounded.isOf(c.output), "groupNorm " + nameOf(f), "rounds otherwise than its result");
  });
  const Case plain = forwardCase(f, d, false);
  double worst = 0;
  for (size_t i = 0; i < before.size(); i++) worst = std::fmax(worst, std::fabs(static_cast<double>(before[i]) - plain.expected[i]));
  expect(worst <= plain.tolerance, plain.label, "differs beside its SiLU");
}

// Sums of squares that float32 cannot hold.
void checkRange(float spread, Random& random) {
  const Form f = {{2, 5, 4}, 2, true, 0, spread};
  const Data d(f, random);
  Case c = forwardCase(f, d, false);
  c.label += " times " + std::to_string(spread);
  check(c);
}

void checkGroupNorm(Random& random, Effort effort) {
  checkForm({{2, 4, 4, 64}, 16, true}, random);          // whole bundles of four channels
  checkForm({{3, 5, 7, 51}, 17, false}, random);         // three channels a group
  checkForm({{2, 9, 12}, 4, true, 100, 1}, random);      // a mean far from 0
  checkForm({{4, 8}, 2, true}, random);                  // one pixel
  checkForm({{2, 3, 3, 1100}, 1, true}, random);         // more columns than threads
  checkForm({{1, 39, 38, 8}, 1, true}, random);          // slabs
  checkForm({{1, 76, 78, 6}, 3, true, -3, 0.5f}, random);  // slabs of several groups
  checkRange(1e25f, random);
  checkRange(1e-25f, random);
  for (int round = 1; round < effort.rounds; round++) {
    const int64_t groups = random.between(1, 12), perGroup = random.between(1, 9);
    checkForm({{random.between(1, 3), random.between(1, 12), random.between(1, 12), groups * perGroup}, groups,
               random.between(0, 1) == 0},
              random);
  }
}

CUDA_CHECKS("group norm", checkGroupNorm);

}  // namespace
}  // namespace cuda
}  // namespace langevin
