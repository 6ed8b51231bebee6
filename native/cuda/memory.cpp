// Allocation, pinned staging and scratch memory of the CUDA device.
#include "memory.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "../core/decode.h"

namespace langevin {
namespace cuda {

namespace {

constexpr size_t kScratchAlignment = 256;
constexpr size_t kLeastScratch = size_t{4} << 20;

std::string mebibytes(double bytes) {
  char text[48];
  std::snprintf(text, sizeof text, "%.1f MiB", bytes / (1 << 20));
  return text;
}

}  // namespace

void* DeviceMemory::obtain(size_t bytes) {
  health_.demand();
  void* data = nullptr;
  const cudaError_t error = cudaMalloc(&data, bytes);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check(error, "allocation of device memory");
  return data;
}

void DeviceMemory::giveBack(void* data) { cudaFree(data); }

std::string DeviceMemory::refusal(double bytes, size_t live) {
  std::string text = "out of memory: " + show(bytes) + " bytes (" + mebibytes(bytes) + ") are not to be had; tensors hold " +
                     mebibytes(static_cast<double>(live));
  size_t free = 0, total = 0;
  if (cudaMemGetInfo(&free, &total) == cudaSuccess)
    text += ", " + mebibytes(static_cast<double>(free)) + " of " + mebibytes(static_cast<double>(total)) +
            " are free on the device";
  return text + ". A smaller batch, or fewer tensors at a time, may fit";
}

DeviceBlock::DeviceBlock(size_t bytes) : bytes_(bytes) { check(cudaMalloc(&data_, bytes), "allocation of device memory"); }

PinnedBlock::PinnedBlock(size_t bytes) {
  check(cudaHostAlloc(&data_, bytes, cudaHostAllocMapped), "allocation of page-locked memory");
}

Event::Event() {
  check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming | cudaEventBlockingSync), "an event");
}

void Event::record(cudaStream_t stream) { check(cudaEventRecord(event_, stream), "an event"); }

void Event::wait() { check(cudaEventSynchronize(event_), "work on the device"); }

Staging::Piece& Staging::next() {
  if (pieces_.size() < kPieces) {
    pieces_.push_back(std::make_unique<Piece>());
    return *pieces_.back();
  }
  Piece& piece = *pieces_[at_++ % kPieces];
  piece.copied.wait();
  return piece;
}

void Staging::upload(void* target, const void* source, size_t bytes) {
  for (size_t done = 0; done < bytes; done += kPieceBytes) {
    const size_t n = std::min(kPieceBytes, bytes - done);
    Piece& piece = next();
    std::memcpy(piece.memory.data(), static_cast<const char*>(source) + done, n);
    check(cudaMemcpyAsync(static_cast<char*>(target) + done, piece.memory.data(), n, cudaMemcpyHostToDevice, stream_),
          "a copy to the device");
    piece.copied.record(stream_);
  }
}

void Staging::download(void* target, const void* source, size_t bytes) {
  struct Part {
    Piece* piece;
    char* to;
    size_t bytes;
  };
  std::vector<Part> parts;  // on their way; half of the pieces, so that the others may still be busy with an upload
  size_t emptied = 0;
  const auto empty = [&] {
    const Part& part = parts[emptied++];
    part.piece->copied.wait();
    std::memcpy(part.to, part.piece->memory.data(), part.bytes);
  };
  for (size_t done = 0; done < bytes; done += kPieceBytes) {
    const size_t n = std::min(kPieceBytes, bytes - done);
    if (parts.size() - emptied == kPieces / 2) empty();
    Piece& piece = next();
    check(cudaMemcpyAsync(piece.memory.data(), static_cast<const char*>(source) + done, n, cudaMemcpyDeviceToHost, stream_),
          "a copy from the device");
    piece.copied.record(stream_);
    parts.push_back({&piece, static_cast<char*>(target) + done, n});
  }
  while (emptied < parts.size()) empty();
}

void* Scratch::take(size_t bytes) {
  const size_t rounded = (bytes + kScratchAlignment - 1) / kScratchAlignment * kScratchAlignment;
  if (block_ == nullptr || block_->bytes() - used_ < rounded) {
    const size_t doubled = block_ == nullptr ? kLeastScratch : 2 * block_->bytes();
    auto larger = std::make_shared<DeviceBlock>(std::max(doubled, rounded));
    if (block_ != nullptr) outgrown_.push_back(std::move(block_));
    block_ = std::move(larger);
    used_ = 0;
  }
  void* const region = block_->data() + used_;
  used_ += rounded;
  return region;
}

std::vector<std::shared_ptr<DeviceBlock>> Scratch::blocks() const {
  std::vector<std::shared_ptr<DeviceBlock>> all = outgrown_;
  if (block_ != nullptr) all.push_back(block_);
  return all;
}

}  // namespace cuda
}  // namespace langevin
