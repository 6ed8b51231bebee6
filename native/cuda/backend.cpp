// How the cuda device does the queue's work. Nothing thrown leaves this file but from the constructor.
#include "backend.h"

#include <new>

#include "../core/finite.h"
#include "../core/stepwise.h"
#include "discovery/discovery.h"
#include "registry.h"
#include "window.h"

namespace langevin {
namespace cuda {

namespace {

constexpr const char* kDevice = "device \"cuda\"";
constexpr size_t kMostUnsettled = 64;
constexpr int kOldestGpu = 75;  // Turing; kernels are compiled for nothing before

Engine* openEngine() {
  const CudaState found = discoverCuda();
  if (found.devices.empty()) throw std::runtime_error(found.problem);
  const CudaDevice& device = found.devices.front();
  if (device.major * 10 + device.minor < kOldestGpu)
    throw std::runtime_error(device.name + " has compute capability " + std::to_string(device.major) + "." +
                             std::to_string(device.minor) + ", expected at least 7.5; CUDA_VISIBLE_DEVICES chooses another GPU");
  check(cudaSetDevice(0), "the start of CUDA");
  cudaStream_t stream;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, 0), "a look at the device");
  return new Engine(stream, device.multiprocessors, properties.sharedMemPerBlockOptin);
}

// While it lives, commands run in the precision of a program.
class PrecisionOfProgram {
 public:
  PrecisionOfProgram(Precision& current, Precision precision) : current_(current) { current = precision; }
  ~PrecisionOfProgram() { current_ = Precision::float32; }
  PrecisionOfProgram(const PrecisionOfProgram&) = delete;
  PrecisionOfProgram& operator=(const PrecisionOfProgram&) = delete;

 private:
  Precision& current_;
};

}  // namespace

void Graveyard::bury(std::unique_ptr<DeviceProgram> program) {
  std::lock_guard<std::mutex> lock(mutex_);
  programs_.push_back(std::move(program));
}

void Graveyard::empty() {
  std::vector<std::unique_ptr<DeviceProgram>> programs;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    programs.swap(programs_);
  }
}

CudaBackend::CudaBackend()
    : engine_(openEngine()),
      memory_(engine_->health),
      eagerFault_(std::make_unique<DeviceBlock>(sizeof(unsigned long long))),
      seenFault_(std::make_unique<PinnedBlock>(sizeof(unsigned long long))) {
  const unsigned long long none = 0;
  engine_->staging.upload(eagerFault_->data(), &none, sizeof none);
}

CudaBackend::~CudaBackend() {
  const cudaStream_t stream = engine_->stream;
  cudaStreamSynchronize(stream);
  unsettled_.clear();
  graveyard_->empty();
  engine_.reset();
  cudaStreamDestroy(stream);
}

const Kernels& CudaBackend::kernels() const { return cuda::kernels(); }

std::string CudaBackend::describe(const Program& program) const {
  const persistent::Device device =
      persistent::deviceWith(engine_->sharedBytes, engine_->multiprocessors, program.precision);
  const std::string how = persistent::describe(persistent::planPersistent(program, device));
  if (program.graphKernels == 0) return how;
  return how + " A step is a graph of " + std::to_string(program.graphKernels) + " kernels, at most " +
         std::to_string(program.longestChain) + " of them one after the other.";
}

// Runs `action`, which returns a Failure, and makes one of what it throws.
template <class F>
Failure CudaBackend::guarded(const std::string& op, const F& action) {
  try {
    engine_->health.demand();
    return action();
  } catch (const CudaError& error) {
    return engine_->health.failure(error, op);
  } catch (const std::bad_alloc&) {
    return {op, "out of memory"};
  } catch (const std::exception& error) {
    return {op, error.what()};
  }
}

Failure CudaBackend::run(const Batch::Step* steps, size_t count) {
  for (size_t i = 0; i < count; i++) {
    Failure failure = run(steps[i]);
    if (!failure.op.empty()) return failure;
  }
  return {};
}

Failure CudaBackend::run(const Batch::Step& step) {
  return guarded(step.kernel->name, [&]() -> Failure {
    lastOp_ = step.kernel->name;
    const LaunchContext context{nullptr, reinterpret_cast<unsigned long long*>(eagerFault_->data()), false, &eagerSites_,
                                stepwisePrecision_};
    engine_->launch(step, nullptr, context);
    unchecked_ = unchecked_ || !eagerSites_.empty();
    return {};
  });
}

Failure CudaBackend::searchOutput(const Batch::Step& step) {
  const Operand& output = step.command.output;
  if (!output.present() || output.dtype != DType::f32 || output.size() == 0) return {};
  // Rows lie in the copy as they do on the device.
  std::vector<float> copy(static_cast<size_t>((output.rows() - 1) * output.pitch + output.cols()));
  Failure failure = read(copy.data(), output.data, copy.size() * sizeof(float));
  if (!failure.op.empty()) return failure;
  Operand onHost = output;
  onHost.data = copy.data();
  const bool dense = output.dense();
  const int64_t rows = dense ? 1 : output.rows(), cols = dense ? output.size() : output.cols();
  for (int64_t row = 0; row < rows; row++)
    if (someNotFinite(copy.data() + row * output.pitch, cols)) return notFinite(step.kernel->name, onHost, row);
  return {};
}

DeviceProgram& CudaBackend::compiled(Program& program) {
  if (program.compiled == nullptr) {
    auto made = std::make_unique<DeviceProgram>(*engine_, program);
    program.compiled = std::shared_ptr<void>(made.get(), [graveyard = graveyard_](void* given) {
      graveyard->bury(std::unique_ptr<DeviceProgram>(static_cast<DeviceProgram*>(given)));
    });
    made.release();
  }
  return *static_cast<DeviceProgram*>(program.compiled.get());
}

Failure CudaBackend::replay(const std::shared_ptr<Replay>& replay, bool awaited, const std::atomic<bool>& dropped) {
  // The search looks at every result before the next command may use it, so that graphs are no help.
  if (replay->program().checkFinite) {
    const PrecisionOfProgram scope(stepwisePrecision_, replay->program().precision);
    runStepwise(*replay, *this, dropped);
  } else if (awaited) replayInWindows(*replay, dropped);
  else return runUnawaited(replay);
  return replay->end().failure;
}

void CudaBackend::replayInWindows(Replay& replay, const std::atomic<bool>& dropped) {
  const Failure failure = guarded(kDevice, [&]() -> Failure {
    runInWindows(replay, compiled(replay.program()), dropped);
    return {};
  });
  if (failure.op.empty()) return;
  replay.end().failure = failure;
  replay.end().list = replay.program().lists.size();  // of no command that is known
}

Failure CudaBackend::runUnawaited(const std::shared_ptr<Replay>& replay) {
  Failure failure = unsettled_.size() >= kMostUnsettled ? settleOldest() : Failure{};
  const Failure started = guarded(kDevice, [&]() -> Failure {
    DeviceProgram& program = compiled(replay->program());
    program.begin(replay->values());
    try {
      while (program.enqueue(1) == 0) continue;
    } catch (const CaptureFailure& capture) {
      return capture.failure;
    }
    unsettled_.push_back({replay, &program, program.mark()});
    return {};
  });
  return failure.op.empty() ? started : failure;
}

Failure CudaBackend::settleOldest() {
  Unsettled oldest = std::move(unsettled_.front());
  unsettled_.pop_front();
  return guarded(kDevice, [&]() -> Failure {
    oldest.mark->wait();
    const unsigned long long fault = oldest.mark->progress().fault;
    oldest.program->giveBack(std::move(oldest.mark));
    return fault == 0 ? Failure{} : oldest.program->site(fault).failure;
  });
}

Failure CudaBackend::write(void* target, const void* source, size_t bytes) {
  return guarded("write", [&]() -> Failure {
    engine_->staging.upload(target, source, bytes);
    return {};
  });
}

Failure CudaBackend::read(void* target, const void* source, size_t bytes) {
  const Failure failure = guarded("read", [&]() -> Failure {
    engine_->staging.download(target, source, bytes);
    return {};
  });
  const Failure earlier = finish();
  return earlier.op.empty() ? failure : earlier;
}

Failure CudaBackend::takeEagerFault() {
  if (!unchecked_) return {};
  unchecked_ = false;
  unsigned long long& seen = *reinterpret_cast<unsigned long long*>(seenFault_->data());
  check(cudaMemcpyAsync(&seen, eagerFault_->data(), sizeof seen, cudaMemcpyDeviceToHost, engine_->stream), "a read");
  check(cudaStreamSynchronize(engine_->stream), "work on the device");
  if (seen == 0) return {};
  const Failure failure = eagerSites_[seen - 1].failure;
  const unsigned long long none = 0;
  engine_->staging.upload(eagerFault_->data(), &none, sizeof none);
  return failure;
}

Failure CudaBackend::finish() {
  Failure first = guarded(kDevice, [&]() -> Failure {
    const cudaError_t error = cudaStreamSynchronize(engine_->stream);
    check(error, ("work on the device (the last command was " + (lastOp_.empty() ? "none" : lastOp_) + ")").c_str());
    for (Scratch& scratch : engine_->scratch) scratch.forgetOutgrown();
    graveyard_->empty();
    return takeEagerFault();
  });
  while (!unsettled_.empty()) {
    const Failure failure = settleOldest();
    if (first.op.empty()) first = failure;
  }
  return first;
}

bool CudaBackend::finished() {
  if (engine_->health.broken() || unchecked_ || !unsettled_.empty()) return false;
  const cudaError_t state = cudaStreamQuery(engine_->stream);
  if (state != cudaSuccess) cudaGetLastError();
  return state == cudaSuccess;  // an error is found by `finish`
}

}  // namespace cuda
}  // namespace langevin
