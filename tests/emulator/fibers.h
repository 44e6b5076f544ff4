// Fibers: stacks of their own that hand the processor to each other. A few instructions on x86-64; elsewhere, or
// with -DEMU_UCONTEXT, the system's ucontext, which is slower.
#pragma once

#include <cstddef>
#include <cstdint>

namespace emu {

constexpr size_t STACK = 64 * 1024;  // module.py has the compiler refuse a kernel whose frame takes half of it

#if defined(__x86_64__) && !defined(EMU_UCONTEXT)

struct Fiber { void* stack_pointer; };

extern "C" void emu_switch(void** save, void* load);
__asm__(
    ".text\n.weak emu_switch\n.hidden emu_switch\n.type emu_switch, @function\n"
    "emu_switch:\n"
    "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n    pushq %r13\n    pushq %r14\n    pushq %r15\n"
    "    movq %rsp, (%rdi)\n"
    "    movq %rsi, %rsp\n"
    "    popq %r15\n    popq %r14\n    popq %r13\n    popq %r12\n    popq %rbx\n    popq %rbp\n"
    "    ret\n"
    ".size emu_switch, .-emu_switch\n");

// A fiber whose first switch calls `start`, which never returns.
inline void prepare(Fiber& fiber, char* stack, void (*start)()) {
    void** top = reinterpret_cast<void**>(stack + STACK - 64);
    *--top = nullptr;  // where `start` would return to; leaves the stack as aligned as after a call
    *--top = reinterpret_cast<void*>(start);
    for (int i = 0; i < 6; i++) *--top = nullptr;
    fiber.stack_pointer = top;
}

inline void switch_to(Fiber& from, Fiber& to) { emu_switch(&from.stack_pointer, to.stack_pointer); }

#else

}  // namespace emu
#include <ucontext.h>
namespace emu {

struct Fiber { ucontext_t context; };

inline void prepare(Fiber& fiber, char* stack, void (*start)()) {
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = stack;
    fiber.context.uc_stack.ss_size = STACK;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, start, 0);
}

inline void switch_to(Fiber& from, Fiber& to) { swapcontext(&from.context, &to.context); }

#endif

}  // namespace emu
