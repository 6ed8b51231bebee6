// Leaves one stack and goes on with another: what fibers are made of.
#pragma once

#include <cstddef>

namespace gpu {
namespace host {

// Saves what a function call must preserve and the stack pointer in *from, and goes on where `to` was saved.
extern "C" void switchStacks(void** from, void* to) asm("langevin_switch_stacks");

// What to switch to in order to call `entry`, which must not return, on a fresh stack that ends at `top`.
void* freshStack(void* top, void (*entry)());

}  // namespace host
}  // namespace gpu
