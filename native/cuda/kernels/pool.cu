// maxPool2d, avgPool2d and their gradients. The first of a window's largest values in row-major order is its maximum, and
// NaN beats numbers; sums run over a window, or over the windows that cover a pixel, in row-major order. One thread for each
// element of the output, channels innermost.
#include "elementwise.cuh"

namespace langevin {
namespace cuda {
namespace {

// The pixels of images.
struct Pixels {
  float* data;
  int64_t height, width, channels, pitch;

  __device__ float* at(int64_t image, int64_t y, int64_t x) const {
    return data + ((image * height + y) * width + x) * pitch;
  }
};

Pixels pixelsOf(const Operand& x) { return {x.as<float>(), x.dim(1), x.dim(2), x.dim(3), x.pitch}; }

struct Element {
  int64_t image, y, x, channel;
};

__device__ Element elementAt(const Pixels& p, int64_t i) {
  const int64_t pixel = i / p.channels, row = pixel / p.width;
  return {row / p.height, row % p.height, pixel - row * p.width, i - pixel * p.channels};
}

struct Range {
  int64_t begin, end;
};

struct Window {
  int64_t kernel[2], stride[2], padding[2];  // the padding before

  // Positions of an axis of `size` that window `o` covers.
  __device__ Range covered(int axis, int64_t size, int64_t o) const {
    const int64_t start = o * stride[axis] - padding[axis], end = start + kernel[axis];
    return {start > 0 ? start : 0, end < size ? end : size};
  }

  // Windows, of `windows`, that cover position `i`.
  __device__ Range covering(int axis, int64_t windows, int64_t i) const {
    const int64_t padded = i + padding[axis], first = padded - kernel[axis] + 1, last = padded / stride[axis] + 1;
    return {first > 0 ? (first + stride[axis] - 1) / stride[axis] : 0, last < windows ? last : windows};
  }
};

Window readWindow(AttributeReader& attributes) {
  const Ints kernel = attributes.ints(), stride = attributes.ints(), padding = attributes.ints();
  return {{kernel[0], kernel[1]}, {stride[0], stride[1]}, {padding[0], padding[2]}};
}

// Largest value of a window, and where it lies: the position's number in the image.
struct Winner {
  float value;
  int64_t position;
};

__device__ Winner findWinner(const Pixels& x, const Element& e, const Range& ys, const Range& xs) {
  Winner winner{0, -1};
  for (int64_t iy = ys.begin; iy < ys.end; iy++)
    for (int64_t ix = xs.begin; ix < xs.end; ix++) {
      const float value = x.at(e.image, iy, ix)[e.channel];
      const bool wins = winner.position < 0 || value > winner.value || (value != value && winner.value == winner.value);
      if (wins) winner = {value, iy * x.width + ix};
    }
  // A window of padding alone.
  return winner.position < 0 ? Winner{noise::fromBits(0xFF800000u), -1} : winner;
}

__global__ void __launch_bounds__(kThreads) poolMaximum(const Pixels y, const Pixels x, const Window window, const int64_t size) {
  for (int64_t i = firstTurn(); i < size; i += turnStep()) {
    const Element e = elementAt(y, i);
    const Range ys = window.covered(0, x.height, e.y), xs = window.covered(1, x.width, e.x);
    y.at(e.image, e.y, e.x)[e.channel] = findWinner(x, e, ys, xs).value;
  }
}

// Every element of dx adds up dy of the windows that it wins.
__global__ void __launch_bounds__(kThreads) poolMaximumGradient(const Pixels dx, const Pixels x, const Pixels dy,
                                                                const Window window, const int64_t size) {
  for (int64_t i = firstTurn(); i < size; i += turnStep()) {
    const Element e = elementAt(dx, i);
    const Range windowsY = window.covering(0, dy.height, e.y), windowsX = window.covering(1, dy.width, e.x);
    const int64_t position = e.y * x.width + e.x;
    float sum = 0;
    for (int64_t oy = windowsY.begin; oy < windowsY.end; oy++)
      for (int64_t ox = windowsX.begin; ox < windowsX.end; ox++) {
        const Winner winner = findWinner(x, e, window.covered(0, x.height, oy), window.covered(1, x.width, ox));
        if (winner.position == position) sum = sum + dy.at(e.image, oy, ox)[e.channel];
      }
    dx.at(e.image, e.y, e.x)[e.channel] = sum;
  }
}

// Whether sums are divided by the size of the kernel, or by the pixels of the window that lie in the image.
struct Average {
  Window window;
  bool countPadding;

  __device__ float terms(const Range& ys, const Range& xs) const {
    const int64_t n = countPadding ? window.kernel[0] * window.kernel[1] : (ys.end - ys.begin) * (xs.end - xs.begin);
    return static_cast<float>(n);
  }
};

__global__ void __launch_bounds__(kThreads) poolAverage(const Pixels y, const Pixels x, const Average average,
                                                        const int64_t size) {
  for (int64_t i = firstTurn(); i < size; i += turnStep()) {
    const Element e = elementAt(y, i);
    const Range ys = average.window.covered(0, x.height, e.y), xs = average.window.covered(1, x.width, e.x);
    float sum = 0;
    for (int64_t iy = ys.begin; iy < ys.end; iy++)
      for (int64_t ix = xs.begin; ix < xs.end; ix++) sum = sum + x.at(e.image, iy, ix)[e.channel];
    y.at(e.image, e.y, e.x)[e.channel] = sum / average.terms(ys, xs);
  }
}

__global__ void __launch_bounds__(kThreads) poolAverageGradient(const Pixels dx, const Pixels dy, const Average average,
                                                                const int64_t size) {
  const Window& window = average.window;
  for (int64_t i = firstTurn(); i < size; i += turnStep()) {
    const Element e = elementAt(dx, i);
    const Range windowsY = window.covering(0, dy.height, e.y), windowsX = window.covering(1, dy.width, e.x);
    float sum = 0;
    for (int64_t oy = windowsY.begin; oy < windowsY.end; oy++)
      for (int64_t ox = windowsX.begin; ox < windowsX.end; ox++) {
        const float terms = average.terms(window.covered(0, dx.height, oy), window.covered(1, dx.width, ox));
        sum = sum + dy.at(e.image, oy, ox)[e.channel] / terms;
      }
    dx.at(e.image, e.y, e.x)[e.channel] = sum;
  }
}

void maxPool2d(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  const Operand& y = command.output;
  if (y.size() == 0) return;
  GPU_LAUNCH(poolMaximum, gridFor(launch, y.size()), dim3(kThreads), launch.stream(), pixelsOf(y),
             pixelsOf(command.inputs[0]), readWindow(command.attributes), y.size());
}

void maxPool2dGradient(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  const Operand& dx = command.output;
  if (dx.size() == 0) return;
  GPU_LAUNCH(poolMaximumGradient, gridFor(launch, dx.size()), dim3(kThreads), launch.stream(), pixelsOf(dx),
             pixelsOf(command.inputs[0]), pixelsOf(command.inputs[1]), readWindow(command.attributes), dx.size());
}

Average readAverage(AttributeReader& attributes) {
  const Window window = readWindow(attributes);
  return {window, attributes.b()};
}

void avgPool2d(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  const Operand& y = command.output;
  if (y.size() == 0) return;
  GPU_LAUNCH(poolAverage, gridFor(launch, y.size()), dim3(kThreads), launch.stream(), pixelsOf(y),
             pixelsOf(command.inputs[0]), readAverage(command.attributes), y.size());
}

void avgPool2dGradient(Command& command, Launch& launch) {
  expectDType(command, DType::f32);
  const Operand& dx = command.output;
  if (dx.size() == 0) return;
  GPU_LAUNCH(poolAverageGradient, gridFor(launch, dx.size()), dim3(kThreads), launch.stream(), pixelsOf(dx),
             pixelsOf(command.inputs[0]), readAverage(command.attributes), dx.size());
}

}  // namespace

LANGEVIN_CUDA_KERNEL("maxPool2d", "kernel:ints,stride:ints,padding:ints", maxPool2d)
LANGEVIN_CUDA_KERNEL("maxPool2dGradient", "kernel:ints,stride:ints,padding:ints", maxPool2dGradient)
LANGEVIN_CUDA_KERNEL("avgPool2d", "kernel:ints,stride:ints,padding:ints,countPadding:bool", avgPool2d)
LANGEVIN_CUDA_KERNEL("avgPool2dGradient", "kernel:ints,stride:ints,padding:ints,countPadding:bool,size:ints",
                     avgPool2dGradient)

}  // namespace cuda
}  // namespace langevin
