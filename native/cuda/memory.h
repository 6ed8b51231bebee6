// Device memory for buffers, pinned host memory through which data travels, and working memory of kernels.
#pragma once

#include <memory>
#include <vector>

#include "../core/allocator.h"
#include "health.h"

namespace langevin {
namespace cuda {

// Blocks of device memory for the caching allocator. From the owner's thread.
class DeviceMemory final : public MemorySource {
 public:
  explicit DeviceMemory(const Health& health) : health_(health) {}

  void* obtain(size_t bytes) override;
  void giveBack(void* data) override;
  std::string refusal(double bytes, size_t live) override;

 private:
  const Health& health_;
};

// A block of device memory that belongs to one object. Throws CudaError.
class DeviceBlock {
 public:
  explicit DeviceBlock(size_t bytes);
  ~DeviceBlock() { cudaFree(data_); }
  DeviceBlock(const DeviceBlock&) = delete;
  DeviceBlock& operator=(const DeviceBlock&) = delete;

  char* data() const { return static_cast<char*>(data_); }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  const size_t bytes_;
};

// Page-locked memory of the host, which the device reads and writes without the processor. Throws CudaError.
class PinnedBlock {
 public:
  explicit PinnedBlock(size_t bytes);
  ~PinnedBlock() { cudaFreeHost(data_); }
  PinnedBlock(const PinnedBlock&) = delete;
  PinnedBlock& operator=(const PinnedBlock&) = delete;

  char* data() const { return static_cast<char*>(data_); }

 private:
  void* data_ = nullptr;
};

// A mark in a stream's work.
class Event {
 public:
  Event();
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(cudaStream_t stream);
  // Waits until the stream has come to it; at once where nothing was recorded.
  void wait();

 private:
  cudaEvent_t event_ = nullptr;
};

// Copies between pageable memory and the device through a few pinned pieces, so that the stream goes on while the caller
// fills or empties another piece.
class Staging {
 public:
  explicit Staging(cudaStream_t stream) : stream_(stream) {}

  // `source` may change after the call; the copy itself is queued.
  void upload(void* target, const void* source, size_t bytes);
  // Waits for all work on the stream, and then for the copy.
  void download(void* target, const void* source, size_t bytes);

 private:
  static constexpr size_t kPieceBytes = size_t{1} << 20;
  static constexpr size_t kPieces = 8;

  struct Piece {
    PinnedBlock memory{kPieceBytes};
    Event copied;
  };
  Piece& next();

  const cudaStream_t stream_;
  std::vector<std::unique_ptr<Piece>> pieces_;
  size_t at_ = 0;
};

// Working memory of one command at a time. Commands that run one after the other share it. A
// graph keeps the block that it was captured with.
class Scratch {
 public:
  // 256-byte aligned; throws CudaError.
  void* take(size_t bytes);
  // Ends the life of all regions taken. Blocks that were outgrown go once nothing refers to them: from the queue's thread,
  // when work on the stream is done.
  void reset() { used_ = 0; }
  void forgetOutgrown() { outgrown_.clear(); }
  // All blocks that regions may lie in.
  std::vector<std::shared_ptr<DeviceBlock>> blocks() const;

 private:
  std::shared_ptr<DeviceBlock> block_;
  std::vector<std::shared_ptr<DeviceBlock>> outgrown_;
  size_t used_ = 0;
};

}  // namespace cuda
}  // namespace langevin
