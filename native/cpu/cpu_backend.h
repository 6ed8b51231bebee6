// The cpu device's backend: commands run on the queue's thread and a pool beside it, and are done when the call ends.
#pragma once

#include "../core/backend.h"
#include "../core/scratch.h"
#include "thread_pool.h"

namespace langevin {

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(int threads) : pool_(threads) {}

  const Kernels& kernels() const override { return Registry::get().kernels(); }
  int threads() const override { return pool_.threads(); }
  MemorySource& memory() override { return memory_; }

  Failure run(const Batch::Step& step) override;
  Failure searchOutput(const Batch::Step& step) override;
  Failure replay(const std::shared_ptr<Replay>& replay, bool awaited, const std::atomic<bool>& dropped) override;
  Failure write(void* target, const void* source, size_t bytes) override;
  Failure read(void* target, const void* source, size_t bytes) override;
  Failure finish() override { return {}; }
  bool finished() override { return true; }

 private:
  int64_t firstSuspect(const Operand& operand);

  HostMemory memory_;
  ThreadPool pool_;
  ScratchMemory scratch_;
};

// 0 threads: as many as there are processors. Throws std::runtime_error where the kernels are not there.
std::unique_ptr<Backend> openCpu(int threads);

}  // namespace langevin
