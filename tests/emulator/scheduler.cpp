// Runs a grid: blocks one after the other, the threads of a block as fibers that hand over where a GPU's threads wait.
//
// A thread runs until a barrier, a warp operation or its end. Which thread and which block comes first is the order
// that was asked for; a random one is drawn anew for every round.
#include "runtime.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#define HERE reinterpret_cast<uint64_t>(__builtin_return_address(0))

namespace emu {

Tick now = 1;
Thread* current = nullptr;
Block block;
Index block_size, grid_size;
Totals totals;
uint64_t step_limit = 1 << 24;

namespace {

enum WarpOp : int { SYNC, BALLOT, ANY, ALL, SHUFFLE, MULTIPLY, EXCHANGE };
const char* const WARP_OP_NAMES[] = {"__syncwarp", "__ballot_sync", "__any_sync", "__all_sync", "__shfl_sync",
                                     "mma.sync", "ldmatrix.sync"};

// Lanes that wait for the others of their mask.
struct Group {
    int op;
    unsigned int mask, arrived;
    uint64_t pc, bits[32];
    int operand[32], width[32], how[32];
};

struct Warp {
    unsigned int exists, done;
    std::vector<Group> groups;
};

std::vector<Thread> threads;
std::vector<Warp> warps;
char* stacks = nullptr;
Fiber scheduler;
bool stopped;
void (*entry)(void**);
void** entry_arguments;
size_t alive, at_barrier;

void leave(State state, uint64_t pc) {
    Thread* self = current;
    self->state = state;
    self->waits_at = pc;
    switch_to(self->fiber, scheduler);
}

void warp_finding(FindingKind kind, uint64_t pc, const char* text) {
    Finding finding = finding_here(kind, pc);
    snprintf(finding.text, sizeof finding.text, "%s", text);
    report(finding);
    stop();
}

// ---- warp operations ----------------------------------------------------------------------------------------------

uint64_t shuffled(const Warp& warp, const Group& group, int lane) {
    const int width = group.width[lane], operand = group.operand[lane], first = lane & ~(width - 1);
    int source = lane;
    switch (group.how[lane]) {
        case 0: source = first | (operand & (width - 1)); break;
        case 1: source = lane - operand < first ? lane : lane - operand; break;
        case 2: source = lane + operand >= first + width ? lane : lane + operand; break;
        case 3: source = (lane ^ operand) >= first + width ? lane : lane ^ operand; break;
    }
    char text[160];
    if (source < 0 || source > 31 || !(group.mask >> source & 1)) {
        snprintf(text, sizeof text, "lane %d reads lane %d, which the mask 0x%08x leaves out", lane, source,
                 group.mask);
        warp_finding(WARP_MASK, group.pc, text);
    }
    if (!(warp.exists >> source & 1)) {
        snprintf(text, sizeof text, "lane %d reads lane %d, which does not exist in this block", lane, source);
        warp_finding(LANE_EXITED, group.pc, text);
    }
    return group.bits[source];
}

float number(unsigned int bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

float tf32_of(unsigned int bits) { return number(bits & 0xffffe000u); }  // tensor cores read no more of it
float bf16_of(unsigned int bits, int half) { return number(half ? bits & 0xffff0000u : bits << 16); }

// mma.m16n8k8 of TF32 and mma.m16n8k16 of bfloat16, with float32 sums, by the layout of their fragments in the PTX manual.
void multiply(const Group& group) {
    float A[16][16], B[16][8];
    const int deep = reinterpret_cast<const Lane*>(group.bits[0])->deep;
    for (int lane = 0; lane < 32; lane++) {
        const Lane& mine = *reinterpret_cast<const Lane*>(group.bits[lane]);
        const int g = lane / 4, t = lane % 4;
        if (deep == 8) {
            for (int e = 0; e < 4; e++) A[g + e % 2 * 8][t + e / 2 * 4] = tf32_of(mine.a[e]);
            for (int e = 0; e < 2; e++) B[t + e * 4][g] = tf32_of(mine.b[e]);
            continue;
        }
        for (int half = 0; half < 2; half++) {
            for (int e = 0; e < 4; e++) A[g + e % 2 * 8][2 * t + e / 2 * 8 + half] = bf16_of(mine.a[e], half);
            for (int e = 0; e < 2; e++) B[2 * t + e * 8 + half][g] = bf16_of(mine.b[e], half);
        }
    }
    for (int lane = 0; lane < 32; lane++) {
        const Lane& mine = *reinterpret_cast<const Lane*>(group.bits[lane]);
        for (int e = 0; e < 4; e++)
            for (int k = 0; k < deep; k++)
                *mine.d[e] += A[lane / 4 + e / 2 * 8][k] * B[k][lane % 4 * 2 + e % 2];
    }
}

// ldmatrix.m8n8.x4, by the layout of its fragments in the PTX manual: lane l brings line l % 8 of matrix l / 8.
void exchange(const Group& group) {
    auto number = [&](int matrix, int line, int at) {
        return reinterpret_cast<const Lines*>(group.bits[8 * matrix + line])->line[at / 2] >> at % 2 * 16 & 0xffffu;
    };
    for (int lane = 0; lane < 32; lane++) {
        const Lines& mine = *reinterpret_cast<const Lines*>(group.bits[lane]);
        const int g = lane / 4, t = lane % 4;
        for (int m = 0; m < 4; m++)
            *mine.to[m] = mine.turned ? number(m, 2 * t, g) | number(m, 2 * t + 1, g) << 16
                                      : number(m, g, 2 * t) | number(m, g, 2 * t + 1) << 16;
    }
}

void finish(Warp& warp, Group group) {
    const uint32_t first = current->warp * 32;
    if (group.op == SYNC) {
        std::vector<Thread*> lanes;
        now++;
        for (uint32_t lane = 0; lane < 32; lane++)
            if (group.arrived >> lane & 1) {
                Thread& thread = threads[first + lane];
                if (group.arrived == warp.exists) {
                    thread.warp_sync = now;
                } else {
                    thread.part_sync = now;
                    thread.part_mask = group.arrived;
                }
                lanes.push_back(&thread);
            }
        checker_syncwarp(lanes);
    }
    if (group.op == MULTIPLY || group.op == EXCHANGE) {
        if (warp.exists != 0xffffffffu) {
            char text[160];
            snprintf(text, sizeof text, "%s: the warp has not 32 lanes", WARP_OP_NAMES[group.op]);
            warp_finding(WARP_MASK, group.pc, text);
        }
        if (group.op == MULTIPLY) multiply(group);
        else exchange(group);
    }
    unsigned int votes = 0;
    for (int lane = 0; lane < 32; lane++)
        if ((group.arrived >> lane & 1) && group.bits[lane]) votes |= 1u << lane;
    for (int lane = 0; lane < 32; lane++) {
        if (!(group.arrived >> lane & 1)) continue;
        Thread& thread = threads[first + lane];
        switch (group.op) {
            case SYNC: case MULTIPLY: case EXCHANGE: break;
            case BALLOT: thread.result = votes; break;
            case ANY: thread.result = votes != 0; break;
            case ALL: thread.result = votes == group.arrived; break;
            case SHUFFLE: thread.result = shuffled(warp, group, lane); break;
        }
        thread.state = READY;
    }
}

uint64_t warp_operation(int op, unsigned int mask, uint64_t pc, uint64_t bits, int operand = 0, int width = 32,
                        int how = 0) {
    Warp& warp = warps[current->warp];
    const uint32_t lane = current->lane;
    char text[160];
    totals.warp_operations++;
    count_step(pc);
    if (!(mask >> lane & 1)) {
        snprintf(text, sizeof text, "%s: the mask 0x%08x leaves out the calling lane %u", WARP_OP_NAMES[op], mask,
                 lane);
        warp_finding(WARP_MASK, pc, text);
    }
    if (width < 1 || width > 32 || (width & (width - 1))) {
        snprintf(text, sizeof text, "%s: width %d is not a power of two up to 32", WARP_OP_NAMES[op], width);
        warp_finding(WARP_MASK, pc, text);
    }
    if (mask & warp.done) {
        snprintf(text, sizeof text, "%s: lane %d of the mask 0x%08x has returned", WARP_OP_NAMES[op],
                 __builtin_ctz(mask & warp.done), mask);
        warp_finding(LANE_EXITED, pc, text);
    }
    size_t place = 0;
    for (; place < warp.groups.size(); place++) {
        const Group& group = warp.groups[place];
        if (group.mask == mask && group.op == op) break;
        if (!(group.arrived & mask) || !(group.mask >> lane & 1)) continue;  // neither needs the other, so far
        Finding finding = finding_here(WARP_MASK, pc);
        finding.other_pc = group.pc;
        finding.other_block = block.id;
        finding.other_thread = current->warp * 32 + __builtin_ctz(group.arrived);
        snprintf(finding.text, sizeof finding.text, "%s with mask 0x%08x, while lane %d waits in %s with mask 0x%08x",
                 WARP_OP_NAMES[op], mask, __builtin_ctz(group.arrived), WARP_OP_NAMES[group.op], group.mask);
        report(finding);
        stop();
    }
    if (place == warp.groups.size()) {
        warp.groups.push_back({});
        warp.groups.back().op = op;
        warp.groups.back().mask = mask;
        warp.groups.back().pc = pc;
    }
    Group& group = warp.groups[place];
    group.arrived |= 1u << lane;
    group.bits[lane] = bits;
    group.operand[lane] = operand;
    group.width[lane] = width;
    group.how[lane] = how;
    if (group.arrived == (mask & warp.exists)) {
        const Group whole = group;
        warp.groups.erase(warp.groups.begin() + place);
        finish(warp, whole);
    } else {
        leave(AT_WARP_OP, pc);
    }
    return current->result;
}

// ---- barriers -----------------------------------------------------------------------------------------------------

int barrier(int predicate, uint64_t pc) {
    count_step(pc);
    current->vote = predicate != 0;
    at_barrier++;
    leave(AT_BARRIER, pc);
    return (int)current->result;
}

Finding finding_of(FindingKind kind, const Thread& thread) {
    Finding finding = {};
    finding.kind = kind;
    finding.pc = thread.waits_at;
    finding.block = block.id;
    finding.thread = thread.id;
    return finding;
}

const Thread* first_in(State state) {
    for (const Thread& thread : threads)
        if (thread.state == state) return &thread;
    return nullptr;
}

void release_barrier() {
    const Thread* first = &threads[0];
    for (const Thread& thread : threads)
        if (thread.waits_at != first->waits_at) {
            Finding finding = finding_of(BARRIER_DIVERGED, thread);
            finding.other_pc = first->waits_at;
            finding.other_block = block.id;
            finding.other_thread = first->id;
            report(finding);
            break;
        }
    totals.barriers++;
    now++;
    block.barrier = now;
    checker_barrier(threads);
    uint64_t votes = 0;
    for (const Thread& thread : threads) votes += thread.vote;
    for (Thread& thread : threads) {
        thread.result = votes;
        thread.state = READY;
    }
    at_barrier = 0;
}

// Nobody can go on: say who waits where.
void report_stuck() {
    const Thread *waiting = first_in(AT_BARRIER), *in_warp = first_in(AT_WARP_OP), *done = first_in(DONE);
    if (waiting) {
        Finding finding = finding_of(BARRIER_MISSED, *waiting);
        const Thread* other = in_warp ? in_warp : done;
        finding.other_block = block.id;
        finding.other_thread = other->id;
        finding.other_pc = in_warp ? in_warp->waits_at : 0;
        snprintf(finding.text, sizeof finding.text, "%zu of %zu threads wait here; %s", at_barrier, threads.size(),
                 in_warp ? "another waits in a warp operation" : "another has returned");
        report(finding);
    } else {
        Finding finding = finding_of(WARP_MASK, *in_warp);
        snprintf(finding.text, sizeof finding.text, "waits for lanes of its mask that never come");
        report(finding);
    }
}

// ---- orders -------------------------------------------------------------------------------------------------------

uint64_t random_state;

uint64_t random_number() {  // splitmix64
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

enum Order : int { ASCENDING, DESCENDING, RANDOM };

void arrange(std::vector<uint32_t>& order, size_t count, int how) {
    order.resize(count);
    for (size_t i = 0; i < count; i++) order[i] = (uint32_t)(how == DESCENDING ? count - 1 - i : i);
    if (how == RANDOM)
        for (size_t i = count; i > 1; i--) std::swap(order[i - 1], order[random_number() % i]);
}

// ---- a block ------------------------------------------------------------------------------------------------------

void run_thread() {
    entry(entry_arguments);
    Warp& warp = warps[current->warp];
    warp.done |= 1u << current->lane;
    for (const Group& group : warp.groups)
        if (group.mask & warp.done) {
            char text[160];
            snprintf(text, sizeof text, "%s: lane %u returned while lane %d waits for it", WARP_OP_NAMES[group.op],
                     current->lane, __builtin_ctz(group.arrived));
            warp_finding(LANE_EXITED, group.pc, text);
        }
    alive--;
    leave(DONE, 0);
    __builtin_unreachable();
}

void set_up_threads() {
    const size_t count = (size_t)block_size.x * block_size.y * block_size.z;
    threads.resize(count);
    warps.assign((count + 31) / 32, {});
    for (uint32_t i = 0; i < count; i++) {
        Thread& thread = threads[i];
        thread.id = i;
        thread.warp = i / 32;
        thread.lane = i % 32;
        thread.index = {i % block_size.x, i / block_size.x % block_size.y, i / (block_size.x * block_size.y)};
        thread.state = READY;
        thread.stack = stacks + i * STACK;
        thread.steps = 0;
        thread.warp_sync = thread.part_sync = 0;
        thread.snapshot.taken = false;
        thread.pending.clear();
        thread.acquired.clear();
        thread.copies.assign(1, {});
        prepare(thread.fiber, thread.stack, run_thread);
        warps[thread.warp].exists |= 1u << thread.lane;
    }
    alive = count;
    at_barrier = 0;
}

void run_block(int how) {
    static std::vector<uint32_t> order;
    set_up_threads();
    arrange(order, threads.size(), how);
    while (alive) {
        bool ran = false;
        for (uint32_t i : order) {
            if (threads[i].state != READY) continue;
            ran = true;
            current = &threads[i];
            switch_to(scheduler, current->fiber);
            if (stopped) return;
        }
        if (at_barrier == threads.size()) {
            release_barrier();
        } else if (!ran) {
            report_stuck();
            stopped = true;
            return;
        }
        if (alive && how == RANDOM) arrange(order, threads.size(), how);
    }
}

}  // namespace

void stop() {
    stopped = true;
    switch_to(current->fiber, scheduler);
    __builtin_unreachable();
}

void count_step(uint64_t pc) {
    if (++current->steps <= step_limit) return;
    Finding finding = finding_here(STEPS, pc);
    if (late) snprintf(finding.text, sizeof finding.text, "longer than %g s", time_limit);
    else snprintf(finding.text, sizeof finding.text, "more than %llu steps", (unsigned long long)step_limit);
    report(finding);
    stop();
}

}  // namespace emu

using namespace emu;

extern "C" {

// ---- what kernels call --------------------------------------------------------------------------------------------

Index emu_thread_index() { return current->index; }
Index emu_block_index() { return block.index; }
Index emu_block_size() { return block_size; }
Index emu_grid_size() { return grid_size; }
void* emu_dynamic_shared() { return dynamic_shared_memory(); }

void __syncthreads() { barrier(0, HERE); }
int __syncthreads_count(int predicate) { return barrier(predicate, HERE); }
int __syncthreads_and(int predicate) { return barrier(predicate, HERE) == (int)threads.size(); }
int __syncthreads_or(int predicate) { return barrier(predicate, HERE) != 0; }

void emu_syncwarp(unsigned int mask) { warp_operation(SYNC, mask, HERE, 0); }
unsigned int __ballot_sync(unsigned int mask, int predicate) {
    return (unsigned int)warp_operation(BALLOT, mask, HERE, predicate != 0);
}
int __any_sync(unsigned int mask, int predicate) { return (int)warp_operation(ANY, mask, HERE, predicate != 0); }
int __all_sync(unsigned int mask, int predicate) { return (int)warp_operation(ALL, mask, HERE, predicate != 0); }
unsigned long long emu_shuffle(unsigned int mask, unsigned long long bits, int operand, int width, int how) {
    return warp_operation(SHUFFLE, mask, HERE, bits, operand, width, how);
}

const void* emu_in_shared(unsigned int low) { return checker_in_shared(low); }

void emu_exchange(Lines* lines) {
    warp_operation(EXCHANGE, 0xffffffffu, HERE, reinterpret_cast<uint64_t>(lines));
}

void emu_multiply(Lane* lane) { warp_operation(MULTIPLY, 0xffffffffu, HERE, reinterpret_cast<uint64_t>(lane)); }

// cvt.rna.tf32: 10 bits behind the point, of two equally near the larger in size.
unsigned int emu_tf32(float x) {
    unsigned int bits;
    memcpy(&bits, &x, 4);
    return (bits & 0x7f800000u) == 0x7f800000u ? bits : (bits + 0x1000u) & 0xffffe000u;
}

// cvt.rn.bf16x2: 7 bits behind the point, of two equally near the even one; what is no number becomes 0x7fff.
unsigned int emu_bf16(float x) {
    unsigned int bits;
    memcpy(&bits, &x, 4);
    return x != x ? 0x7fffu : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}

void emu_copy(unsigned int to, const void* from, int size, int given) {
    count_step(HERE);
    current->copies.back().push_back(checker_copy_begins(to, from, size, given, HERE));
}

void emu_commit() { current->copies.push_back({}); }

void emu_wait(int newest) {
    auto& copies = current->copies;
    while ((int)copies.size() > newest + 1) {
        for (const Copy& copy : copies.front()) checker_copy_comes(copy, HERE);
        copies.erase(copies.begin());
    }
}

void __threadfence() {
    totals.fences++;
    checker_fence();
}
void __threadfence_system() { __threadfence(); }
void __threadfence_block() {}  // orders nothing between blocks, and within one the checker asks for a barrier

void __trap() {
    report(finding_here(TRAP, HERE));
    stop();
}

// ---- what Python calls --------------------------------------------------------------------------------------------

void emu_set_step_limit(uint64_t limit) { step_limit = limit; }

// Runs the grid; the findings are then asked for with emu_findings. Limits are checked by the caller.
void emu_launch(void (*call)(void**), void** arguments, const unsigned int* grid, const unsigned int* size,
                size_t dynamic_shared, int how, uint64_t seed, int checked, Totals* result) {
    if (!stacks)
        stacks = (char*)mmap(nullptr, 1024 * STACK, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED) {
        stacks = nullptr;
        Finding finding = {};
        finding.kind = NO_THREAD_MEMORY;
        report(finding);
        return;
    }
    entry = call;
    entry_arguments = arguments;
    grid_size = {grid[0], grid[1], grid[2]};
    block_size = {size[0], size[1], size[2]};
    totals = {};
    stopped = false;
    random_state = seed;
    now++;
    checker_begin_launch(checked);
#if defined(__x86_64__)
    const unsigned int float_mode = _mm_getcsr();
    _mm_setcsr(float_mode | 0x8040);  // flush to zero, denormals are zero: CuPy compiles with -ftz=true
#endif
    begin_clock();
    std::vector<uint32_t> order;
    arrange(order, (size_t)grid[0] * grid[1] * grid[2], how);
    for (uint32_t i : order) {
        now++;
        block.id = i;
        block.index = {i % grid[0], i / grid[0] % grid[1], i / (grid[0] * grid[1])};
        block.began = block.barrier = now;
        block.pending.clear();
        block.acquired.clear();
        block.fenced.reset();
        checker_begin_block(dynamic_shared);
        run_block(how);
        if (profiling) profile_end_block();
        if (stopped) break;
    }
    end_clock();
    current = nullptr;
#if defined(__x86_64__)
    _mm_setcsr(float_mode);
#endif
    *result = totals;
}

}  // extern "C"
