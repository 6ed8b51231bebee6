// How kernels walk images four elements at a time, as the noise counts them: one Philox counter for each four of an image.
#pragma once

#include "../../noise/philox.h"
#include "elementwise.cuh"

namespace langevin {
namespace cuda {

// a / b, by the division of 32 bits where that does.
__device__ inline int64_t quotient(int64_t a, int64_t b) {
  if (((a | b) >> 32) == 0) return static_cast<uint32_t>(a) / static_cast<uint32_t>(b);
  return a / b;
}

// Operands of one shape [images, ...], each with its pitch. A tensor without axes is one image.
template <int N>
struct Images {
  int64_t count = 1;     // of images
  int64_t elements = 1;  // of an image
  int64_t cols = 1;      // of a row of the last axis
  int64_t rows = 1;      // of an image
  int64_t pitch[N] = {};
  void* data[N] = {};
  bool quads = false;  // every four elements are adjacent and aligned

  // Divides where rows lie apart alone: in 64 bits that takes longer than all else here.
  __device__ int64_t place(int k, int64_t image, int64_t element) const {
    if (pitch[k] == cols) return image * elements + element;
    const int64_t row = quotient(element, cols);
    return (image * rows + row) * pitch[k] + (element - row * cols);
  }

  template <class T>
  __device__ T get(int k, int64_t image, int64_t element) const {
    return static_cast<const T*>(data[k])[place(k, image, element)];
  }
};

template <int N>
Images<N> imagesOf(const Operand* const (&operands)[N]) {
  const Operand& shape = *operands[0];
  Images<N> images;
  images.count = shape.rank == 0 ? 1 : shape.shape[0];
  // Where axis 0 is the only one, its elements are the images, and adjacent.
  const bool flat = shape.rank <= 1;
  images.cols = flat ? 1 : shape.cols();
  for (int i = 1; i + 1 < shape.rank; i++) images.rows *= shape.shape[i];
  images.elements = images.rows * images.cols;
  images.quads = images.elements % kQuad == 0;
  for (int k = 0; k < N; k++) {
    images.pitch[k] = flat || operands[k]->dense() ? images.cols : operands[k]->pitch;
    images.data[k] = operands[k]->data;
    const bool whole = images.pitch[k] == images.cols || (images.pitch[k] % kQuad == 0 && images.cols % kQuad == 0);
    images.quads = images.quads && whole && reinterpret_cast<uintptr_t>(images.data[k]) % sizeof(QuadOf<float>) == 0;
  }
  return images;
}

// Up to four elements of one image.
struct QuadPlace {
  int64_t image;
  int64_t element;  // of the image; a multiple of 4
  int count;
};

// Calls f(place) for all groups of four; each is one thread's.
template <int N, class F>
__device__ void forEachQuad(const Images<N>& images, const F& f) {
  const int64_t perImage = (images.elements + kQuad - 1) / kQuad, total = images.count * perImage;
  for (int64_t i = firstTurn(); i < total; i += turnStep()) {
    const int64_t image = quotient(i, perImage), element = (i - image * perImage) * kQuad, left = images.elements - element;
    f(QuadPlace{image, element, left < kQuad ? static_cast<int>(left) : kQuad});
  }
}

template <int N>
__device__ noise::Floats4 loadFour(const Images<N>& images, int k, const QuadPlace& at) {
  noise::Floats4 x{{0, 0, 0, 0}};
  if (images.quads) {
    const QuadOf<float> q = *reinterpret_cast<const QuadOf<float>*>(static_cast<const float*>(images.data[k]) +
                                                                    images.place(k, at.image, at.element));
    for (int j = 0; j < kQuad; j++) x.v[j] = q.v[j];
  } else {
    // Four turns, whose number the compiler knows, keep x in registers.
    for (int j = 0; j < kQuad; j++)
      if (j < at.count) x.v[j] = images.template get<float>(k, at.image, at.element + j);
  }
  return x;
}

template <class T, int N>
__device__ void storeFour(const Images<N>& images, int k, const QuadPlace& at, const T (&y)[kQuad]) {
  T* const data = static_cast<T*>(images.data[k]);
  if (images.quads) {
    QuadOf<T> q;
    for (int j = 0; j < kQuad; j++) q.v[j] = y[j];
    *reinterpret_cast<QuadOf<T>*>(data + images.place(k, at.image, at.element)) = q;
  } else {
    for (int j = 0; j < kQuad; j++)
      if (j < at.count) data[images.place(k, at.image, at.element + j)] = y[j];
  }
}

// Enqueues KERNEL(arguments...) over the groups of four of `images`.
#define LANGEVIN_LAUNCH_IMAGES(launch, images, kernel, ...)                                                             \
  do {                                                                                                                  \
    const int64_t groups_ = (images).count * (((images).elements + kQuad - 1) / kQuad);                                 \
    if (groups_ > 0)                                                                                                    \
      GPU_LAUNCH(kernel, gridFor(launch, groups_), dim3(kThreads), (launch).stream(), images, __VA_ARGS__);             \
  } while (false)

// Where a tensor's noise lies: the attributes that every kind of noise has, of which image and step may change from step
// to step.
struct NoiseStream {
  uint64_t seed;
  uint32_t draw;
  Number image, step;

  NoiseStream(AttributeReader& attributes, Launch& launch)
      : seed(attributes.seed()),
        draw(static_cast<uint32_t>(attributes.i())),
        image(launch.number(attributes)),
        step(launch.number(attributes)) {}

  // The counter of a group of four.
  __device__ noise::Counter at(const QuadPlace& place) const {
    return {static_cast<uint32_t>(place.element / kQuad), draw,
            static_cast<uint32_t>(image.integer()) + static_cast<uint32_t>(place.image),
            static_cast<uint32_t>(step.integer())};
  }
};

}  // namespace cuda
}  // namespace langevin
