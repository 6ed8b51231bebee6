// The cuda device's backend: commands and graphs go to one stream, in their order, and reads wait for it.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "../core/backend.h"
#include "engine.h"
#include "graphs.h"

namespace langevin {
namespace cuda {

// Programs that were unloaded, until the queue's thread frees what they have on the device: that waits for the device,
// which the owner's thread must not.
class Graveyard {
 public:
  void bury(std::unique_ptr<DeviceProgram> program);
  void empty();

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<DeviceProgram>> programs_;
};

class CudaBackend final : public Backend {
 public:
  // Throws std::runtime_error in plain words where no device can be used.
  CudaBackend();
  ~CudaBackend() override;

  const Kernels& kernels() const override;
  int threads() const override { return 1; }
  MemorySource& memory() override { return memory_; }

  std::string describe(const Program& program) const override;

  // Joined commands run one after the other: what they leave is the same.
  Failure run(const Batch::Step* steps, size_t count) override;
  Failure searchOutput(const Batch::Step& step) override;
  Failure replay(const std::shared_ptr<Replay>& replay, bool awaited, const std::atomic<bool>& dropped) override;
  Failure write(void* target, const void* source, size_t bytes) override;
  Failure read(void* target, const void* source, size_t bytes) override;
  Failure finish() override;
  bool finished() override;

 private:
  // A step that runs while nobody waits for its end.
  struct Unsettled {
    std::shared_ptr<Replay> replay;  // keeps the program
    DeviceProgram* program;
    std::unique_ptr<Mark> mark;
  };

  Failure run(const Batch::Step& step);
  template <class F>
  Failure guarded(const std::string& op, const F& action);
  DeviceProgram& compiled(Program& program);
  void replayInWindows(Replay& replay, const std::atomic<bool>& dropped);
  Failure runUnawaited(const std::shared_ptr<Replay>& replay);
  Failure settleOldest();
  Failure takeEagerFault();

  std::unique_ptr<Engine> engine_;
  DeviceMemory memory_;
  std::unique_ptr<DeviceBlock> eagerFault_;
  std::unique_ptr<PinnedBlock> seenFault_;
  std::vector<FaultSite> eagerSites_;
  bool unchecked_ = false;  // eager commands that may have raised a fault
  std::deque<Unsettled> unsettled_;
  Precision stepwisePrecision_ = Precision::float32;  // of the program that runs command by command
  std::string lastOp_;
  const std::shared_ptr<Graveyard> graveyard_ = std::make_shared<Graveyard>();
};

}  // namespace cuda
}  // namespace langevin
