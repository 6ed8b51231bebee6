// Switching of stacks for x86-64 and arm64, by the calling conventions that Linux and macOS share.
#include "switch.h"

#include <cstdint>
#include <cstring>

#if defined(__ELF__)
asm(".hidden langevin_switch_stacks");
#endif

#if defined(__x86_64__)
// The six registers that a callee preserves; the return address lies above them.
asm(R"(
.text
.p2align 4
.globl langevin_switch_stacks
langevin_switch_stacks:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
#elif defined(__aarch64__)
// x19 to x28, frame pointer, link register and the low halves of v8 to v15.
asm(R"(
.text
.p2align 4
.globl langevin_switch_stacks
langevin_switch_stacks:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
)");
#else
#error "CUDA kernels run on the host on x86-64 and arm64 only: write switchStacks for this processor"
#endif

namespace gpu {
namespace host {

void* freshStack(void* top, void (*entry)()) {
  uintptr_t* const end = reinterpret_cast<uintptr_t*>(reinterpret_cast<uintptr_t>(top) & ~uintptr_t{15});
#if defined(__x86_64__)
  // Six registers and the return address; above it the null of a caller, as a called function finds its stack.
  uintptr_t* const saved = end - 8;
  std::memset(saved, 0, 8 * sizeof *saved);
  saved[6] = reinterpret_cast<uintptr_t>(entry);
#else
  uintptr_t* const saved = end - 20;
  std::memset(saved, 0, 20 * sizeof *saved);
  saved[11] = reinterpret_cast<uintptr_t>(entry);  // x30
#endif
  return saved;
}

}  // namespace host
}  // namespace gpu
