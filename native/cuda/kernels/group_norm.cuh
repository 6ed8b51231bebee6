// Group normalisation as launchers see it: what to normalise, and whether SiLU follows in the same pass.
#pragma once

#include "../launch.h"
#include "activation.cuh"

namespace langevin {
namespace cuda {

// x [images, pixels, channels] with rows `pitch` apart; groups of adjacent channels.
struct GroupNorm {
  const float* x;
  int64_t xPitch;
  const float* weight;  // [channels]; null: ones
  const float* bias;    // [channels]; null: zeros
  int64_t images, pixels;
  int channels, groups;
  double epsilon;
};

// y = activation(z weight + bias) with the normalised z of x.
void normaliseGroups(const GroupNorm& norm, Activation activation, float* y, int64_t yPitch, Launch& launch);

// The gradients of that: dx dense, and dweight [channels] with dbias [channels] behind it. The bias matters where there is
// an activation.
struct GroupNormGradient {
  const float* dy;
  int64_t dyPitch;
  float *dx, *dweight;
};
void normaliseGroupsGradient(const GroupNorm& norm, Activation activation, const GroupNormGradient& gradient, Launch& launch);

}  // namespace cuda
}  // namespace langevin
