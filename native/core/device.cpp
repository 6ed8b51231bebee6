// A device. A buffer's number is its slot plus a generation, so that numbers are never reused and found at once.
#include "device.h"

#include <cmath>

namespace langevin {

namespace {

constexpr double kSlots = 4194304;            // 2^22 buffers at a time
constexpr uint32_t kGenerations = 1u << 31;   // of a slot, which is then given up: numbers stay below 2^53
constexpr double kMaxBytes = 1099511627776.0;  // 2^40

}  // namespace

Device::Device(std::unique_ptr<Backend> backend)
    : queue_(std::move(backend)), allocator_(queue_.backend().memory()) {}

Device::~Device() {
  queue_.stop();
  for (const Slot& slot : slots_)
    if (slot.id != 0) allocator_.release(slot.block);
}

double Device::allocate(double bytes) {
  if (!(bytes >= 0 && bytes == std::floor(bytes))) throw DeviceFailure("a buffer cannot have " + show(bytes) + " bytes");
  if (freeSlots_.empty()) {
    if (static_cast<double>(slots_.size()) == kSlots - 1) throw DeviceFailure("too many buffers");
    slots_.emplace_back();
    freeSlots_.push_back(static_cast<uint32_t>(slots_.size() - 1));
  }
  Allocator::Block block;
  if (bytes <= kMaxBytes) {
    const size_t size = static_cast<size_t>(bytes);
    if (allocator_.wasteful(size)) trim();
    block = allocator_.allocate(size);
    if (block.data == nullptr) {
      trim();
      block = allocator_.allocate(size);
    }
  }
  if (block.data == nullptr) throw DeviceFailure(queue_.backend().memory().refusal(bytes, liveBytes_));
  const uint32_t index = freeSlots_.back();
  freeSlots_.pop_back();
  Slot& slot = slots_[index];
  slot.id = static_cast<double>(index) + 1 + kSlots * slot.generation;
  slot.bytes = static_cast<size_t>(bytes);
  slot.block = block;
  liveBuffers_++;
  liveBytes_ += slot.bytes;
  return slot.id;
}

void Device::trim() {
  queue_.wait();
  allocator_.trim();
}

const Device::Slot* Device::slotOf(double id) const {
  if (!(id >= 1 && id < 9007199254740992.0)) return nullptr;
  const size_t index = static_cast<size_t>(static_cast<uint64_t>(id) % static_cast<uint64_t>(kSlots)) - 1;
  return index < slots_.size() && slots_[index].id == id ? &slots_[index] : nullptr;
}

BufferView Device::find(double id) const {
  const Slot* slot = slotOf(id);
  return slot == nullptr ? BufferView{} : BufferView{slot->block.data, slot->bytes};
}

void Device::release(double id) {
  const Slot* found = slotOf(id);
  if (found == nullptr) throw DeviceFailure("release of unknown buffer " + show(id));
  Slot& slot = slots_[static_cast<size_t>(found - slots_.data())];
  allocator_.release(slot.block);
  liveBuffers_--;
  liveBytes_ -= slot.bytes;
  slot.id = 0;
  if (++slot.generation < kGenerations) freeSlots_.push_back(static_cast<uint32_t>(found - slots_.data()));
}

void Device::submit(const double* words, size_t count) {
  queue_.submit(decode("submit", words, count, queue_.backend().kernels(), *this));
}

double Device::load(const double* words, size_t count, const double* layout, size_t layoutCount) {
  programs_.emplace(lastProgram_ + 1, decodeProgram(words, count, layout, layoutCount, queue_.backend().kernels(), *this));
  return ++lastProgram_;
}

std::string Device::describe(double program) const {
  const auto found = programs_.find(program);
  if (found == programs_.end()) throw DeviceFailure("program " + show(program) + " does not exist");
  return queue_.backend().describe(*found->second);
}

void Device::unload(double program) {
  if (programs_.erase(program) == 0) throw DeviceFailure("program " + show(program) + " does not exist");
}

std::shared_ptr<Replay> Device::newReplay(const char* call, double program, ReplayPlan plan) const {
  const auto found = programs_.find(program);
  if (found == programs_.end()) throw DeviceFailure("program " + show(program) + " does not exist");
  for (const double id : found->second->buffers)
    if (slotOf(id) == nullptr) throw DeviceFailure("buffer " + show(id) + " of the program was released");
  return std::make_shared<Replay>(call, found->second, std::move(plan));
}

void Device::run(double program, std::vector<double> values) {
  queue_.replay(newReplay("run", program, {1, std::move(values), {}, {}}), nullptr);
}

std::shared_ptr<Replay> Device::prepare(double program, ReplayPlan plan) const {
  return newReplay("replay", program, std::move(plan));
}

char* Device::region(const char* what, double id, double byteOffset, size_t bytes) const {
  const BufferView buffer = find(id);
  if (buffer.data == nullptr) throw DeviceFailure(std::string(what) + " of unknown buffer " + show(id));
  if (!(byteOffset >= 0 && byteOffset == std::floor(byteOffset) &&
        byteOffset + static_cast<double>(bytes) <= static_cast<double>(buffer.bytes)))
    throw DeviceFailure(std::string(what) + " of " + show(static_cast<double>(bytes)) + " bytes at " + show(byteOffset) +
                        " of a buffer of " + show(static_cast<double>(buffer.bytes)));
  return static_cast<char*>(buffer.data) + static_cast<size_t>(byteOffset);
}

void Device::write(double id, double byteOffset, const void* source, size_t bytes) {
  queue_.write(region("write", id, byteOffset, bytes), source, bytes);
}

void Device::read(double id, double byteOffset, void* target, size_t bytes, Queue::Completion done) {
  queue_.read(target, region("read", id, byteOffset, bytes), bytes, std::move(done));
}

Failure Device::readSync(double id, double byteOffset, void* target, size_t bytes) {
  const char* source = region("read", id, byteOffset, bytes);
  return queue_.readNow(target, source, bytes);
}

MemoryStats Device::memory() const { return {liveBuffers_, liveBytes_, allocator_.reservedBytes()}; }

}  // namespace langevin
