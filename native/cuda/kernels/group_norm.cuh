// Group normalisation as launchers see it: what to normalise, and where the result goes, with a SiLU or without.
#pragma once

#include "rounded.cuh"

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

// Where y = z weight + bias goes, with the normalised z of x.
struct GroupNormResult {
  Target last;  // of y, or of silu(y)
  bool silu;
  Pitched<float> beforeSilu;  // of y then; null: nobody needs it
};
void normaliseGroups(const GroupNorm& norm, const GroupNormResult& result, Launch& launch);

}  // namespace cuda
}  // namespace langevin
