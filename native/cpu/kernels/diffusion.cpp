// addNoise and ddpmStep: the forward process and the reverse step of DDPM, each in one pass (Ho et al. 2020).
#include "../../noise/normal_block.h"
#include "iterate.h"

namespace langevin {
namespace LANGEVIN_ISA {
namespace {

// Whether t is int32 and all other operands are float32; tells the context where not.
bool expectSchedule(const Command& command, Context& context) {
  bool good = command.output.dtype == DType::f32;
  for (int i = 0; i < command.inputCount; i++)
    good = good && (!command.inputs[i].present() || command.inputs[i].dtype == (i == 2 ? DType::i32 : DType::f32));
  if (!good) context.fail("expected float32 operands and int32 timesteps");
  return good;
}

// A row of the coefficients [T, columns]; nullptr for a timestep outside of the table.
LANGEVIN_SIMD const float* coefficientsAt(const Operand& table, int32_t t) {
  return t >= 0 && t < table.dim(0) ? table.as<const float>() + t * table.pitch : nullptr;
}

LANGEVIN_SIMD void fillNaN(float* y, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] = __builtin_nanf("");
}

void addNoise(Command& command, Context& context) {
  if (!expectSchedule(command, context)) return;
  const Operand &x0 = command.inputs[0], &noise = command.inputs[1], &y = command.output;
  const Operand* const operands[3] = {&y, &x0, &noise};
  const Runs runs = runsOf(operands, 3, true);
  const int32_t* const t = command.inputs[2].as<const int32_t>();
  forEachPiece(context, runs.count, runs.length, [&](int64_t run, int64_t start, int64_t n) {
    float* const out = y.as<float>() + run * runs.pitch[0] + start;
    const float* const image = x0.as<const float>() + run * runs.pitch[1] + start;
    const float* const z = noise.as<const float>() + run * runs.pitch[2] + start;
    const float* const row = coefficientsAt(command.inputs[3], t[run / runs.perImage]);
    if (!row) {
      fillNaN(out, n);
      return;
    }
    const float imageScale = row[0], noiseScale = row[1];
    LANGEVIN_IVDEP
    for (int64_t i = 0; i < n; i++) out[i] = imageScale * image[i] + noiseScale * z[i];
  });
}

// One image's coefficients of the reverse step.
struct ReverseStep {
  V meanScale, epsilonScale, sigma;
  LANGEVIN_INLINE explicit ReverseStep(const float* row)
      : meanScale(broadcast(row[0])), epsilonScale(broadcast(row[1])), sigma(broadcast(row[2])) {}
  LANGEVIN_INLINE V mean(V x, V epsilon) const { return meanScale * (x - epsilonScale * epsilon); }
};

LANGEVIN_SIMD void meanStep(const ReverseStep& step, float* y, const float* x, const float* epsilon, int64_t n) {
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) store(y + i, step.mean(load(x + i), load(epsilon + i)));
  if (i < n) storePartial(y + i, step.mean(loadPartial(x + i, n - i), loadPartial(epsilon + i, n - i)), n - i);
}

LANGEVIN_SIMD void noisyStep(const ReverseStep& step, float* y, const float* x, const float* epsilon, const float* z,
                             int64_t n) {
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth)
    store(y + i, step.mean(load(x + i), load(epsilon + i)) + step.sigma * load(z + i));
  if (i < n) {
    const int64_t m = n - i;
    const V mean = step.mean(loadPartial(x + i, m), loadPartial(epsilon + i, m));
    storePartial(y + i, mean + step.sigma * loadPartial(z + i, m), m);
  }
}

void ddpmStep(Command& command, Context& context) {
  if (!expectSchedule(command, context)) return;
  const uint64_t seed = command.attributes.seed();
  noise::Counter base{};
  base.draw = static_cast<uint32_t>(command.attributes.i());
  base.image = static_cast<uint32_t>(command.attributes.i() + command.firstImage);
  base.step = static_cast<uint32_t>(command.attributes.i());
  const Operand &x = command.inputs[0], &epsilon = command.inputs[1], &y = command.output;
  const bool given = command.has(4);
  const Operand& z = given ? command.inputs[4] : x;
  const Operand* const operands[4] = {&y, &x, &epsilon, &z};
  const Runs runs = runsOf(operands, 4, true);
  const int32_t* const timesteps = command.inputs[2].as<const int32_t>();
  forEachPiece(context, runs.count, runs.length, [&](int64_t run, int64_t start, int64_t n) {
    float* const out = y.as<float>() + run * runs.pitch[0] + start;
    const float* const in = x.as<const float>() + run * runs.pitch[1] + start;
    const float* const predicted = epsilon.as<const float>() + run * runs.pitch[2] + start;
    const int64_t image = run / runs.perImage;
    const int32_t t = timesteps[image];
    const float* const row = coefficientsAt(command.inputs[3], t);
    if (!row) {
      fillNaN(out, n);
      return;
    }
    const ReverseStep step(row);
    if (t == 0) {
      meanStep(step, out, in, predicted, n);
    } else if (given) {
      noisyStep(step, out, in, predicted, z.as<const float>() + run * runs.pitch[3] + start, n);
    } else {
      noise::Counter counter = base;
      counter.image += static_cast<uint32_t>(image);
      const int64_t element = run % runs.perImage * runs.length + start;
      float drawn[kBlock];
      for (int64_t done = 0; done < n; done += kBlock) {
        const int64_t m = least(kBlock, n - done);
        normals(drawn, element + done, m, counter, seed);
        noisyStep(step, out + done, in + done, predicted + done, drawn, m);
      }
    }
  });
}

LANGEVIN_KERNEL("addNoise", "", addNoise)
LANGEVIN_KERNEL("ddpmStep", "seed:seed,draw:int,image:int,step:int", ddpmStep)

}  // namespace
}  // namespace LANGEVIN_ISA
}  // namespace langevin
