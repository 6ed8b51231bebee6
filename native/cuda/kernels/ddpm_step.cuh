// The whole reverse step of DDPM (Ho et al. 2020, algorithm 2) in one pass over memory, its noise included:
//
//   x[t-1] = meanScale[t] (x[t] - epsilonScale[t] epsilon) + sigma[t] z,   z ~ N(0, 1), no noise where t = 0
//
// with meanScale = 1 / sqrt(alpha), epsilonScale = beta / sqrt(1 - alphaBar). Three reads and a write of each element are
// all the traffic; separate kernels for noise, products and sum would take four times as much. Every operation rounds to
// float32 in the order written, so that all executors give the same bits.
#pragma once

#include "../../noise/philox.h"
#include "../gpu.h"

namespace langevin {
namespace cuda {

// Dense arrays on the device. `images` images of `elements` elements each.
struct DdpmStep {
  float* output;
  const float* x;
  const float* epsilon;
  const int32_t* t;           // [images]
  const float* coefficients;  // [steps, 3]: meanScale, epsilonScale, sigma
  const float* z;             // the noise; null where it is to be drawn
  int64_t images;
  int64_t elements;
  int32_t steps;
  uint64_t seed;
  uint32_t draw;
  uint32_t image;  // number of the first image in the noise stream
  uint32_t step;
};

constexpr unsigned kDdpmBlock = 256;

namespace ddpm {

struct Coefficients {
  float meanScale, epsilonScale, sigma;
  bool noisy;
};

// A timestep outside the table gives NaN: there is no error to raise from here.
__device__ inline Coefficients coefficientsAt(const DdpmStep& a, int32_t t) {
  const float nan = noise::fromBits(0x7FC00000u);
  if (t < 0 || t >= a.steps) return {nan, nan, nan, true};
  const float* row = a.coefficients + 3 * static_cast<int64_t>(t);
  return {row[0], row[1], row[2], t != 0};
}

__device__ inline float reverse(const Coefficients& c, float x, float epsilon, float z) {
  const float d = noise::mul(c.epsilonScale, epsilon);
  const float m = noise::mul(c.meanScale, noise::sub(x, d));
  return c.noisy ? noise::add(m, noise::mul(c.sigma, z)) : m;
}

__device__ inline noise::Floats4 load4(const float* p, bool aligned, int count) {
  noise::Floats4 v{{0, 0, 0, 0}};
  if (aligned && count == 4) {
    const float4 q = *reinterpret_cast<const float4*>(p);
    return {{q.x, q.y, q.z, q.w}};
  }
  for (int i = 0; i < count; i++) v.v[i] = p[i];
  return v;
}

__device__ inline void store4(float* p, const noise::Floats4& v, bool aligned, int count) {
  if (aligned && count == 4) {
    *reinterpret_cast<float4*>(p) = float4{v.v[0], v.v[1], v.v[2], v.v[3]};
    return;
  }
  for (int i = 0; i < count; i++) p[i] = v.v[i];
}

// One thread takes the four elements that share a Philox counter. blockIdx.y strides over images.
__global__ void __launch_bounds__(kDdpmBlock) step(const DdpmStep a, const bool aligned) {
  const int64_t quads = (a.elements + 3) / 4;
  for (int64_t image = blockIdx.y; image < a.images; image += gridDim.y) {
    const Coefficients c = coefficientsAt(a, a.t[image]);
    for (int64_t quad = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; quad < quads;
         quad += static_cast<int64_t>(gridDim.x) * blockDim.x) {
      const int64_t at = image * a.elements + 4 * quad;
      const int count = a.elements - 4 * quad < 4 ? static_cast<int>(a.elements - 4 * quad) : 4;
      const noise::Floats4 x = load4(a.x + at, aligned, count);
      const noise::Floats4 epsilon = load4(a.epsilon + at, aligned, count);
      noise::Floats4 z{{0, 0, 0, 0}};
      if (a.z != nullptr) {
        z = load4(a.z + at, aligned, count);
      } else if (c.noisy) {
        const noise::Counter counter{static_cast<uint32_t>(quad), a.draw, a.image + static_cast<uint32_t>(image), a.step};
        z = noise::normal4(counter, a.seed);
      }
      noise::Floats4 y;
      for (int i = 0; i < 4; i++) y.v[i] = reverse(c, x.v[i], epsilon.v[i], z.v[i]);
      store4(a.output + at, y, aligned, count);
    }
  }
}

inline bool aligned16(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

}  // namespace ddpm

// Enqueues the step; returns why that failed, or null.
inline const char* runDdpmStep(const DdpmStep& a, gpu::Stream stream) {
  if (a.images == 0 || a.elements == 0) return nullptr;
  const bool aligned = a.elements % 4 == 0 && ddpm::aligned16(a.output) && ddpm::aligned16(a.x) &&
                       ddpm::aligned16(a.epsilon) && (a.z == nullptr || ddpm::aligned16(a.z));
  const int64_t blocks = ((a.elements + 3) / 4 + kDdpmBlock - 1) / kDdpmBlock;
  // Limits of a grid: beyond them, threads take several turns.
  const dim3 grid(static_cast<unsigned>(blocks < 65535 ? blocks : 65535),
                  static_cast<unsigned>(a.images < 65535 ? a.images : 65535));
  GPU_LAUNCH(ddpm::step, grid, dim3(kDdpmBlock), stream, a, aligned);
  return gpu::launchProblem();
}

}  // namespace cuda
}  // namespace langevin
