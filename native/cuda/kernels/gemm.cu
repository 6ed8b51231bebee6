// Sums over k in parts (gemm.cuh).
#include "gemm.cuh"

namespace langevin {
namespace cuda {
namespace {

constexpr int kThreads = 256;

// Enough blocks for a large GPU, each with terms enough to be worth its start.
constexpr int64_t kWantedBlocks = 264, kLeastTerms = 512;
constexpr int kDepth = 32;  // of the deepest tile

__global__ void __launch_bounds__(kThreads)
    addParts(const float* parts, const int count, const int64_t size, const int64_t runs, const Divider perRow, const int n,
             const Epilogue y) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < runs; i += step) {
    int column;
    const int64_t row[1] = {perRow.divide(static_cast<int>(i), column)};
    column *= kRun;
    const int width = n - column < kRun ? n - column : kRun;
    float sums[1][kRun] = {};
    for (int part = 0; part < count; part++) {
      float term[kRun];
      loadRun(parts + part * size + row[0] * n + column, n % kRun == 0, width, term);
      GPU_UNROLL
      for (int k = 0; k < kRun; k++) sums[0][k] += term[k];
    }
    storeRuns(y, row, column, n, sums);
  }
}

}  // namespace

Parts partsOf(int64_t m, int64_t n, int64_t k) {
  const int64_t tiles = ceilDivide(m, 128) * ceilDivide(n, 64);
  const int64_t wanted = kWantedBlocks / tiles, most = k / kLeastTerms;
  const int64_t parts = wanted < 2 || most < 2 ? 1 : wanted < most ? wanted : most;
  Parts p;
  p.each = static_cast<int>(ceilDivide(ceilDivide(k, parts), kDepth)) * kDepth;
  p.count = k == 0 ? 1 : static_cast<int>(ceilDivide(k, p.each));
  return p;
}

void sumParts(const float* parts, int count, int64_t m, int n, const Epilogue& y, Launch& launch) {
  const int64_t perRow = ceilDivide(n, kRun), runs = m * perRow, blocks = ceilDivide(runs, kThreads);
  GPU_LAUNCH(addParts, dim3(static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks)), dim3(kThreads),
             launch.stream(), parts, count, m * n, runs, Divider(static_cast<int>(perRow)), n, y);
}

}  // namespace cuda
}  // namespace langevin
