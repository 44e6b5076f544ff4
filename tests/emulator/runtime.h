// What the scheduler (threads, barriers, warps) and the checker (memory, races) know of each other.
//
// Time is one counter, `now`, that moves at every event that can order two accesses: a barrier, a __syncwarp, a fence,
// an atomic, a launch. Since all threads run on one processor, "before the last barrier" is "at an earlier tick".
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "fibers.h"

namespace emu {

using Tick = uint32_t;

struct Index { unsigned int x, y, z; };

// ---- findings: module.py turns them into words --------------------------------------------------------------------

enum FindingKind : int {
    SHARED_RACE, GLOBAL_RACE, BLOCK_RACE, OUT_OF_BOUNDS, FREED, UNINITIALIZED, BARRIER_MISSED, BARRIER_DIVERGED,
    WARP_MASK, LANE_EXITED, MISALIGNED, OVERFLOW, SHIFT, DIVISION, STEPS, TRAP, NO_THREAD_MEMORY
};

enum AccessKind : int { READ, WRITE, ATOMIC };

struct Finding {
    int kind, access, size, other_access;
    uint64_t pc, address, other_pc;
    uint32_t block, thread, other_block, other_thread;
    uint64_t region_begin, region_size;  // the array that is meant, 0 if none
    int region_kind, line;               // line: 0 if it must be looked up from pc
    char text[160];
};

// ---- threads ------------------------------------------------------------------------------------------------------

// What a thread has seen of others' atomics on one address: all until `until`.
struct Seen {
    struct Flag* flag;
    Tick until;
};

// What is ordered before a __threadfence(), and so before the thread's later atomics.
struct Snapshot {
    bool taken = false;
    Tick at = 0;       // its own accesses until then
    Tick barrier = 0;  // the block's before this barrier
    Tick warp = 0;     // its warp's before this __syncwarp
    std::vector<Seen> acquired;
};

// An asynchronous copy to shared memory that has not come yet.
struct Copy {
    char* to;
    int size;
    char bytes[16];
};

// What a lane gives to a product of its warp, and where it gets its results.
struct Lane {
    float* d[4];
    unsigned int a[4], b[2];
    int deep;  // 8: TF32; 16: bfloat16, two numbers in each of a and b
};

// What a lane gives to an exchange of matrices in its warp, one line of 8 numbers of 2 bytes, and where it gets its own.
struct Lines {
    unsigned int line[4];
    unsigned int* to[4];
    int turned;
};

enum State : int { READY, AT_BARRIER, AT_WARP_OP, DONE };

struct Thread {
    uint32_t id, warp, lane;
    Index index;
    State state;
    Fiber fiber;
    char* stack;
    uint64_t waits_at;  // pc of the barrier or warp operation
    int vote;           // for __syncthreads_count and its like
    uint64_t result;    // of the warp operation
    uint64_t steps;     // accesses since it last waited
    Tick warp_sync, part_sync;
    unsigned int part_mask;  // lanes of the last __syncwarp with a mask that was not the whole warp
    Snapshot snapshot;
    std::vector<Seen> pending, acquired;  // seen by atomics; confirmed by a later __threadfence()
    std::vector<std::vector<Copy>> copies;  // under way, in groups; the last group is still open
};

struct Block {
    uint32_t id;
    Index index;
    Tick began, barrier;                          // barrier: when the last one was passed
    std::vector<Seen> pending, acquired;          // its threads', as of the last barrier
    std::shared_ptr<std::vector<Tick>> fenced;    // for each thread, its last fence before the last barrier
};

struct Totals {
    uint64_t global_read, global_written, shared_read, shared_written, atomics, barriers, warp_operations, fences;
};

extern Tick now;
extern Thread* current;
extern Block block;
extern Index block_size, grid_size;
extern Totals totals;
extern uint64_t step_limit;
extern double time_limit;  // seconds of the processor's time; 0: none
extern bool late;          // it is over

// Ends the launch: back to the scheduler, never to return to this thread.
[[noreturn]] void stop();
// Counts one step of the current thread towards the limit.
void count_step(uint64_t pc);

// The time limit of a launch.
void begin_clock();
void end_clock();

// ---- checker ------------------------------------------------------------------------------------------------------

void report(const Finding& finding);
Finding finding_here(FindingKind kind, uint64_t pc);

void checker_begin_launch(bool checked);
void checker_begin_block(size_t dynamic_shared);
void checker_atomic(void* address, size_t size, uint64_t pc);
void checker_fence();
void checker_barrier(std::vector<Thread>& threads);
void checker_syncwarp(std::vector<Thread*>& lanes);
char* dynamic_shared_memory();
const void* checker_in_shared(uint32_t low);
Copy checker_copy_begins(uint32_t to, const void* from, int size, int given, uint64_t pc);
void checker_copy_comes(const Copy& copy, uint64_t pc);

// ---- profile ------------------------------------------------------------------------------------------------------

extern bool profiling;
void profile_access(uint64_t pc, uint64_t address, uint32_t size, int access, bool shared);
void profile_end_block();

}  // namespace emu
