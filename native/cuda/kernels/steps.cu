// The kernels between a program's lists and steps. One thread does all: there are a few numbers, and a launch takes longer.
#include "../steps.h"

#include "../gpu.h"

namespace langevin {
namespace cuda {

namespace {

__global__ void beginList(Progress* progress, int slots, const SlotPlace* pairs, int pairCount, double* places) {
  if (threadIdx.x != 0) return;
  const double* const values = progress->values + progress->cursor;
  for (int i = 0; i < pairCount; i++) places[pairs[i].place] = values[pairs[i].slot];
  progress->cursor += slots;
  if (progress->fault == 0) progress->lists++;
}

__device__ double scalarOf(const ReportSource& report) {
  switch (static_cast<DType>(report.dtype)) {
    case DType::f32: return *static_cast<const float*>(report.data);
    case DType::i32: return *static_cast<const int32_t*>(report.data);
    default: return *static_cast<const double*>(report.data);
  }
}

__global__ void endStep(Progress* progress, const ReportSource* reports, int reportCount, double* ring, int rows) {
  if (threadIdx.x != 0 || progress->fault != 0) return;
  double* const row = ring + progress->steps % rows * reportCount;
  for (int i = 0; i < reportCount; i++) row[i] = scalarOf(reports[i]);
  progress->steps++;
}

}  // namespace

void enqueueBeginList(cudaStream_t stream, Progress* progress, int slots, const SlotPlace* pairs, int pairCount,
                      double* places) {
  GPU_LAUNCH(beginList, dim3(1), dim3(gpu::kWarp), stream, progress, slots, pairs, pairCount, places);
}

void enqueueEndStep(cudaStream_t stream, Progress* progress, const ReportSource* reports, int reportCount, double* ring,
                    int rows) {
  GPU_LAUNCH(endStep, dim3(1), dim3(gpu::kWarp), stream, progress, reports, reportCount, ring, rows);
}

}  // namespace cuda
}  // namespace langevin
