// Products of matrices as launchers see them.
#pragma once

#include "gemm.cuh"

namespace langevin {
namespace cuda {

// Axes before the last two, over which products are repeated.
constexpr int kMostBatchAxes = kMaxRank - 2;

// a [m, k] or its transpose, b [k, n] or its transpose; for each element of a batch the matrices lie elsewhere.
template <class Element>
struct MatrixProduct {
  const Element *a, *b;
  int64_t pitchA, pitchB;
  bool transposeA, transposeB;
  int m, n, k;

  int batchAxes;
  int batch[kMostBatchAxes];
  int64_t strideA[kMostBatchAxes], strideB[kMostBatchAxes];  // 0 where one matrix serves all
};

// y = epilogue(a b) for all products, whose results lie under each other.
template <Precision precision, class Element>
void multiplyMatrices(const MatrixProduct<Element>& p, const Epilogue& y, Launch& launch);

}  // namespace cuda
}  // namespace langevin
