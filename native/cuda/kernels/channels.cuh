// Neighbouring channels of a pixel that a thread has at a time: four, loaded and stored as 16 bytes, or one.
#pragma once

#include "../gpu.h"

namespace langevin {
namespace cuda {

template <int v>
struct Channels {
  float v_[v];
  __device__ float& operator[](int i) { return v_[i]; }
  __device__ float operator[](int i) const { return v_[i]; }
};

template <int v>
__device__ __forceinline__ Channels<v> load(const float* p) {
  if constexpr (v == 4) {
    const float4 q = *reinterpret_cast<const float4*>(p);
    return {{q.x, q.y, q.z, q.w}};
  } else {
    return {{*p}};
  }
}

template <int v>
__device__ __forceinline__ void store(float* p, const Channels<v>& x) {
  if constexpr (v == 4)
    *reinterpret_cast<float4*>(p) = float4{x[0], x[1], x[2], x[3]};
  else
    *p = x[0];
}

}  // namespace cuda
}  // namespace langevin
