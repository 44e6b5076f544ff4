// Sees every load, store and atomic of a kernel, and says which of them a GPU would not forgive.
//
// The kernel is compiled with -fsanitize=thread,undefined's checks but not linked with their libraries: the functions
// that g++ calls before each access are the ones at the end of this file.
//
// Each 4 bytes have a cell that remembers the last write and three reads. An access is a race if a remembered one
// conflicts with it and nothing orders the two: not a barrier, not a __syncwarp, not a release (__threadfence, then
// an atomic) that was acquired (an atomic on the same address, then __threadfence). Between fence and atomic, and
// between atomic and fence, a barrier may hand over to another thread of the block.
#include "runtime.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>

#define HERE reinterpret_cast<uint64_t>(__builtin_return_address(0))

namespace emu {

struct Release {
    Tick position;
    uint32_t thread;
    Snapshot before;
    std::shared_ptr<std::vector<Tick>> fenced;  // others of its block, by fences of their own and a barrier
};

// An address on which threads signal with atomics.
struct Flag {
    uint64_t address;
    std::unordered_map<uint32_t, std::vector<Release>> by_block;
    std::vector<Release> chained;  // those that pass on what was acquired elsewhere
};

namespace {

// ---- memory: regions and their shadow -----------------------------------------------------------------------------

enum RegionKind : int { GLOBAL, SHARED, VARIABLE };

struct Access {
    Tick tick;  // 0: none
    uint32_t block, pc;
    uint16_t thread;
    uint8_t bytes;  // which of the cell's four
    uint8_t kind;
};

struct Cell {
    Access write;
    Access reads[3];  // the last; the last by another warp, or thread, of the block; the last by another block
};
static_assert(sizeof(Cell) == 64, "a cell is a cache line");

struct Region {
    uint64_t begin, size;
    RegionKind kind;
    bool freed = false;
    uint64_t generation = 0;  // unchecked launches that came before it
    Cell* cells = nullptr;
    uint8_t* defined = nullptr;  // per cell, a bit for each byte that was written

    uint64_t shadowed = size;  // its shadow is for this many bytes: more, if the size changes from launch to launch

    bool holds(uint64_t address) const { return address - begin < size; }
    size_t cell_count() const { return (shadowed + 3) / 4; }
};

constexpr int POISON = 0xff;  // a NaN in every float format, -1 as an integer
constexpr uint64_t ALIGNMENT = 512, CHUNK = 1 << 20;
constexpr size_t REMEMBERED = 100000;  // freed regions that can still be named

uint64_t arena, arena_size, arena_used;
std::vector<uint32_t> chunk_users;       // live arrays in each CHUNK of the arena: none, and its pages are given back
std::map<uint64_t, Region*> regions;     // arrays of the arena and the modules' variables, by first address
std::map<uint64_t, Region*> all_shared;  // every __shared__ array ever used
std::deque<Region*> forgotten_next;
std::vector<Region*> shared;  // those of the kernel that runs
Region* dynamic_region;
char* dynamic_memory;
uint64_t unchecked_launches;
bool checking;
Tick launch_began;
uint64_t code_base;  // pcs are kept as 32-bit distances from here

Region* cached[256];  // by pc: an instruction mostly meets the same array

constexpr size_t DYNAMIC_SIZE = 227 * 1024, DYNAMIC_GAP = 4096;

bool open_arena() {
    for (uint64_t size = 1ull << 40; size >= 1ull << 30; size >>= 1) {
        void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) continue;
        arena = (reinterpret_cast<uint64_t>(memory) + CHUNK - 1) / CHUNK * CHUNK;
        arena_size = size - CHUNK;
        return true;
    }
    return false;
}

// The array at or before an address, freed ones too.
Region* below(uint64_t address) {
    auto place = regions.upper_bound(address);
    return place == regions.begin() ? nullptr : std::prev(place)->second;
}

void drop_shadow(Region* region) {
    free(region->cells);
    free(region->defined);
    region->cells = nullptr;
    region->defined = nullptr;
}

uint8_t* defined_bits(Region* region) {
    if (!region->defined) region->defined = (uint8_t*)calloc(region->cell_count(), 1);
    return region->defined;
}

Cell* cells_of(Region* region) {
    if (!region->cells) region->cells = (Cell*)calloc(region->cell_count(), sizeof(Cell));
    return region->cells;
}

bool wholly_defined(const Region* region) {
    return region->kind == VARIABLE || (region->kind == GLOBAL && region->generation < unchecked_launches);
}

// Which bytes of a cell lie in [begin, end), both counted from the region's begin.
uint8_t bytes_of_cell(uint64_t cell, uint64_t begin, uint64_t end) {
    uint8_t bytes = 0;
    for (uint64_t i = 0; i < 4; i++)
        if (cell * 4 + i >= begin && cell * 4 + i < end) bytes |= 1u << i;
    return bytes;
}

Region* find(uint64_t address, uint64_t pc) {
    Region*& guess = cached[pc & 255];
    if (guess && guess->holds(address)) return guess;
    for (Region* region : shared)
        if (region->holds(address)) return guess = region;
    Region* region = below(address);
    if (region && !region->freed && region->holds(address)) return guess = region;
    return nullptr;
}

uint64_t distance(const Region* region, uint64_t address) {
    return address < region->begin ? region->begin - address : address - (region->begin + region->size);
}

// The array that an address outside all arrays was probably meant for.
const Region* nearest(uint64_t address) {
    const Region* best = nullptr;
    auto consider = [&](const Region* region) {
        if (distance(region, address) < (1 << 20) && (!best || distance(region, address) < distance(best, address)))
            best = region;
    };
    for (const Region* region : shared) consider(region);
    auto next = regions.upper_bound(address);
    if (next != regions.end()) consider(next->second);
    if (next != regions.begin()) consider(std::prev(next)->second);
    return best;
}

// ---- findings -----------------------------------------------------------------------------------------------------

std::vector<Finding> findings;
std::set<std::tuple<int, int, uint64_t, uint64_t, int>> known;
constexpr size_t ENOUGH = 20;  // different findings, after which a launch ends

void name_region(Finding& finding, const Region* region) {
    if (!region) return;
    finding.region_begin = region->begin;
    finding.region_size = region->size;
    finding.region_kind = region->kind;
}

// ---- what is ordered before what ----------------------------------------------------------------------------------

std::unordered_map<uint64_t, Flag> flags;

bool seen(const Access& access, const std::vector<Seen>& acquired, int depth = 0) {
    for (const Seen& sight : acquired) {
        auto releases = sight.flag->by_block.find(access.block);
        if (releases != sight.flag->by_block.end())
            for (const Release& release : releases->second) {
                if (release.position > sight.until) break;
                const Snapshot& before = release.before;
                if (release.fenced && access.tick <= (*release.fenced)[access.thread]) return true;
                if (!before.taken) continue;
                if (access.tick < before.barrier) return true;
                if (access.thread == release.thread && access.tick <= before.at) return true;
                if (access.thread / 32 == release.thread / 32 && access.tick < before.warp) return true;
            }
        if (depth < 8)
            for (const Release& release : sight.flag->chained) {
                if (release.position > sight.until) break;
                if (seen(access, release.before.acquired, depth + 1)) return true;
            }
    }
    return false;
}

// Whether a remembered access comes before what the current thread does now.
bool ordered(const Access& access) {
    if (access.block == block.id) {
        if (access.thread == current->id || access.tick < block.barrier) return true;
        if (access.thread / 32 == current->warp &&
            (access.tick < current->warp_sync ||
             (access.tick < current->part_sync && (current->part_mask >> access.thread % 32 & 1))))
            return true;
    }
    return seen(access, current->acquired) || seen(access, block.acquired);
}

void add(std::vector<Seen>& to, const std::vector<Seen>& from) {
    for (const Seen& sight : from) {
        auto same = std::find_if(to.begin(), to.end(), [&](const Seen& other) { return other.flag == sight.flag; });
        if (same == to.end()) to.push_back(sight);
        else same->until = std::max(same->until, sight.until);
    }
}

// ---- one access ---------------------------------------------------------------------------------------------------

void bad_address(uint64_t address, uint32_t size, AccessKind kind, uint64_t pc, const Region* region) {
    if (!region) {
        const Region* candidate = below(address);
        region = candidate && candidate->holds(address) ? candidate : nearest(address);
    }
    const bool freed = region && region->freed && region->holds(address);
    Finding finding = finding_here(freed ? FREED : OUT_OF_BOUNDS, pc);
    finding.access = kind;
    finding.size = (int)size;
    finding.address = address;
    name_region(finding, region);
    report(finding);
    stop();  // the access itself must not happen
}

void report_race(const Region* region, const Access& other, AccessKind kind, uint32_t size, uint64_t address,
                 uint64_t pc) {
    Finding finding = finding_here(
        region->kind == SHARED ? SHARED_RACE : other.block == block.id ? GLOBAL_RACE : BLOCK_RACE, pc);
    finding.access = kind;
    finding.size = (int)size;
    finding.address = address;
    finding.other_access = other.kind;
    finding.other_pc = code_base + (int32_t)other.pc;
    finding.other_block = other.block;
    finding.other_thread = other.thread;
    name_region(finding, region);
    report(finding);
}

void note_read(Cell& cell, const Access& access) {
    Access& last = cell.reads[0];
    if (last.tick >= launch_began && last.block != access.block) {
        cell.reads[2] = last;
    } else if (last.tick >= launch_began && last.thread != access.thread) {
        const Access& kept = cell.reads[1];
        const bool keep = kept.block == access.block && kept.tick >= block.barrier &&
                          kept.thread / 32 != access.thread / 32 && last.thread / 32 == access.thread / 32;
        if (!keep) cell.reads[1] = last;
    }
    last = access;
}

void on_access(uint64_t address, uint32_t size, AccessKind kind, uint64_t pc) {
    if (!current || address - reinterpret_cast<uint64_t>(current->stack) < STACK) return;
    if (++current->steps > step_limit) count_step(pc);
    Region* region = find(address, pc);
    if (!region || address + size > region->begin + region->size) bad_address(address, size, kind, pc, region);

    if (region->kind == SHARED) (kind == READ ? totals.shared_read : totals.shared_written) += size;
    else (kind == READ ? totals.global_read : totals.global_written) += size;

    if (profiling) profile_access(pc, address, size, kind, region->kind == SHARED);
    const uint64_t begin = address - region->begin, end = begin + size;
    const Tick since = region->kind == SHARED ? block.began : launch_began;
    Cell* cells = cells_of(region);
    uint8_t* defined = defined_bits(region);
    const bool all_defined = wholly_defined(region);
    bool undefined = false;
    const Access* race = nullptr;
    Access access = {now, block.id, (uint32_t)(pc - code_base), (uint16_t)current->id, 15, (uint8_t)kind};
    for (uint64_t i = begin / 4; i * 4 < end; i++) {
        Cell& cell = cells[i];
        access.bytes = begin <= i * 4 && end >= i * 4 + 4 ? 15 : bytes_of_cell(i, begin, end);
        auto conflicts = [&](const Access& other) {
            return other.tick >= since && (other.bytes & access.bytes) && !(kind == ATOMIC && other.kind == ATOMIC) &&
                   !ordered(other);
        };
        static Access culprit;
        if (!race && conflicts(cell.write)) culprit = cell.write, race = &culprit;
        if (kind != WRITE && !all_defined && (defined[i] & access.bytes) != access.bytes) undefined = true;
        if (kind == READ) {
            note_read(cell, access);
        } else {
            for (const Access& read : cell.reads)
                if (!race && conflicts(read)) culprit = read, race = &culprit;
            cell.write = access;
            defined[i] |= access.bytes;
            // what is ordered after this write is ordered after them, and what is not is reported against it
            if (access.bytes == 15) cell.reads[0].tick = cell.reads[1].tick = cell.reads[2].tick = 0;
        }
    }
    if (race) report_race(region, *race, kind, size, address, pc);
    if (undefined) {
        Finding finding = finding_here(UNINITIALIZED, pc);
        finding.access = kind;
        finding.size = (int)size;
        finding.address = address;
        name_region(finding, region);
        report(finding);
    }
}

// ---- undefined behaviour that g++ finds ---------------------------------------------------------------------------

struct Place {
    const char* file;
    uint32_t line, column;
};

struct Type {
    uint16_t kind, info;
    char name[];
};

void undefined_behaviour(FindingKind kind, const Place& place, uint64_t pc, const char* text, bool fatal) {
    if (!current) return;
    Finding finding = finding_here(kind, pc);
    const size_t length = strlen(place.file), suffix = strlen("shim.h");
    if (length < suffix || strcmp(place.file + length - suffix, "shim.h")) finding.line = (int)place.line;
    snprintf(finding.text, sizeof finding.text, "%s", text);
    report(finding);
    if (fatal) stop();
}

}  // namespace

// ---- for the scheduler --------------------------------------------------------------------------------------------

Finding finding_here(FindingKind kind, uint64_t pc) {
    Finding finding = {};
    finding.kind = kind;
    finding.pc = pc;
    finding.block = block.id;
    finding.thread = current->id;
    return finding;
}

void report(const Finding& finding) {
    if (!known.insert({finding.kind, finding.access, finding.pc, finding.other_pc, finding.line}).second) return;
    findings.push_back(finding);
    if (findings.size() >= ENOUGH && current && current->state == READY) stop();
}

void checker_begin_launch(bool checked) {
    checking = checked;
    if (now > 0xf0000000u) {  // time starts again, and nothing has happened yet
        now = 1;
        for (auto& entry : regions) drop_shadow(entry.second), entry.second->generation = 0;
        for (auto& entry : all_shared) drop_shadow(entry.second);
        unchecked_launches++;
    }
    if (!checked) unchecked_launches++;
    launch_began = now;
    flags.clear();
    findings.clear();
    known.clear();
    memset(cached, 0, sizeof cached);
}

void checker_begin_block(size_t) {
    for (Region* region : shared) {
        memset(reinterpret_cast<void*>(region->begin), POISON, region->size);
        if (checking) memset(defined_bits(region), 0, region->cell_count());
    }
}

void checker_atomic(void* address, size_t size, uint64_t pc) {
    totals.atomics++;
    now++;
    const uint64_t place = reinterpret_cast<uint64_t>(address);
    if (!checking) return count_step(pc);
    if (place % size) {
        Finding finding = finding_here(MISALIGNED, pc);
        snprintf(finding.text, sizeof finding.text, "an atomic on %zu bytes at 0x%llx", size,
                 (unsigned long long)place);
        report(finding);
        stop();
    }
    on_access(place, (uint32_t)size, ATOMIC, pc);
    auto known_flag = flags.find(place);
    const bool releases = current->snapshot.taken || block.fenced;
    if (known_flag == flags.end() && !releases) return;  // nobody has signalled here yet
    Flag& flag = known_flag == flags.end() ? flags[place] : known_flag->second;
    flag.address = place;
    if (releases) {
        auto& own = flag.by_block[block.id];
        if (own.empty() || own.back().thread != current->id || own.back().before.at != current->snapshot.at ||
            own.back().fenced != block.fenced) {
            own.push_back({now, current->id, current->snapshot, block.fenced});
            for (const Seen& sight : current->snapshot.acquired)
                if (sight.flag != &flag) {
                    flag.chained.push_back(own.back());
                    break;
                }
        }
    }
    add(current->pending, {{&flag, now}});
    if (current->pending.size() > 64) current->pending.erase(current->pending.begin());
}

void checker_fence() {
    if (!checking) return;
    add(current->acquired, current->pending);
    add(current->acquired, block.pending);
    current->pending.clear();
    Snapshot& snapshot = current->snapshot;
    snapshot.taken = true;
    snapshot.at = now++;
    snapshot.barrier = block.barrier;
    snapshot.warp = current->warp_sync;
    snapshot.acquired = block.acquired;
    add(snapshot.acquired, current->acquired);
}

void checker_barrier(std::vector<Thread>& threads) {
    bool fenced = false;
    for (Thread& thread : threads) {
        add(block.pending, thread.pending);
        add(block.acquired, thread.acquired);
        thread.acquired.clear();
        fenced |= thread.snapshot.taken;
    }
    if (!fenced) return;
    block.fenced = std::make_shared<std::vector<Tick>>(threads.size(), 0);
    for (Thread& thread : threads)
        if (thread.snapshot.taken) (*block.fenced)[thread.id] = thread.snapshot.at;
}

void checker_syncwarp(std::vector<Thread*>& lanes) {
    std::vector<Seen> together;
    for (Thread* lane : lanes) add(together, lane->acquired);
    if (!together.empty())
        for (Thread* lane : lanes) lane->acquired = together;
}

// A copy may write from now on until it is waited for; whoever reads before finds memory that was never written.
// The address in shared memory of which a kernel has the lower 32 bits, and what it lies in: nothing, if outside.
static uint64_t in_shared(uint32_t low, Region** region) {
    *region = nullptr;
    for (Region* one : shared) {
        const uint64_t address = one->begin + (int32_t)(low - (uint32_t)one->begin);
        if (one->holds(address)) return *region = one, address;
    }
    return dynamic_region->begin + (int32_t)(low - (uint32_t)dynamic_region->begin);
}

const void* checker_in_shared(uint32_t low) {
    Region* region;
    return reinterpret_cast<const void*>(in_shared(low, &region));
}

Copy checker_copy_begins(uint32_t low, const void* from, int size, int given, uint64_t pc) {
    Region* region;
    const uint64_t to = in_shared(low, &region);
    const uint64_t source = reinterpret_cast<uint64_t>(from);
    if (!region || to + size > region->begin + region->size) bad_address(to, size, WRITE, pc, region);
    if (to % size || source % size || (given != 0 && given != size)) {
        Finding finding = finding_here(MISALIGNED, pc);
        snprintf(finding.text, sizeof finding.text, "a copy of %d of %d bytes from 0x%llx to 0x%llx", given, size,
                 (unsigned long long)source, (unsigned long long)to);
        report(finding);
        stop();
    }
    Copy copy = {reinterpret_cast<char*>(to), size, {}};
    if (checking && given) on_access(source, size, READ, pc);
    if (given) memcpy(copy.bytes, from, size);
    if (checking) {
        on_access(to, size, WRITE, pc);
        memset(defined_bits(region) + (to - region->begin) / 4, 0, size / 4);
    }
    memset(copy.to, POISON, size);
    return copy;
}

void checker_copy_comes(const Copy& copy, uint64_t pc) {
    if (checking) on_access(reinterpret_cast<uint64_t>(copy.to), copy.size, WRITE, pc);
    memcpy(copy.to, copy.bytes, copy.size);
}

char* dynamic_shared_memory() { return dynamic_memory + DYNAMIC_GAP; }

}  // namespace emu

using namespace emu;

extern "C" {

// ---- what Python calls --------------------------------------------------------------------------------------------

// A new array's address, 0 if there is no room. Addresses are never used again, so that a stale one is recognized.
uint64_t emu_allocate(uint64_t size) {
    if (!arena && !open_arena()) return 0;
    const uint64_t gap = std::min(std::max(size, 2 * ALIGNMENT), CHUNK);  // an index off by a row lands in it
    const uint64_t begin = arena + arena_used;
    if (size > arena_size || arena_used + size + gap + ALIGNMENT > arena_size) return 0;
    arena_used = (arena_used + size + gap + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    Region* region = new Region{begin, size, GLOBAL};
    region->generation = unchecked_launches;
    regions[begin] = region;
    chunk_users.resize(arena_used / CHUNK + 1);
    for (uint64_t i = (begin - arena) / CHUNK; size && i <= (begin + size - 1 - arena) / CHUNK; i++) chunk_users[i]++;
    memset(reinterpret_cast<void*>(begin), POISON, size);
    return begin;
}

int emu_free(uint64_t begin) {
    auto place = regions.find(begin);
    if (place == regions.end() || place->second->freed || place->second->kind != GLOBAL) return 1;
    Region* region = place->second;
    region->freed = true;
    drop_shadow(region);
    for (uint64_t i = (begin - arena) / CHUNK; region->size && i <= (begin + region->size - 1 - arena) / CHUNK; i++)
        if (--chunk_users[i] == 0 && i < arena_used / CHUNK)
            madvise(reinterpret_cast<void*>(arena + i * CHUNK), CHUNK, MADV_DONTNEED);
    forgotten_next.push_back(region);
    if (forgotten_next.size() > REMEMBERED) {
        regions.erase(forgotten_next.front()->begin);
        delete forgotten_next.front();
        forgotten_next.pop_front();
    }
    return 0;
}

// 0 if [address, address + size) lies in a live array; how much of it was written is asked or set.
static Region* live(uint64_t address, uint64_t size) {
    Region* region = below(address);
    if (!region || region->freed || address + size > region->begin + region->size) return nullptr;
    return region;
}

int emu_written(uint64_t address, uint64_t size) {
    Region* region = live(address, size);
    if (!region) return 1;
    if (!size || wholly_defined(region)) return 0;
    const uint64_t begin = address - region->begin, end = begin + size, first = (begin + 3) / 4, last = end / 4;
    uint8_t* defined = defined_bits(region);
    if (first < last) memset(defined + first, 15, last - first);
    if (begin % 4) defined[begin / 4] |= bytes_of_cell(begin / 4, begin, end);
    if (end % 4) defined[end / 4] |= bytes_of_cell(end / 4, begin, end);
    return 0;
}

// 1 if every byte was written, 0 if not, -1 if the place is not in a live array.
int emu_initialized(uint64_t address, uint64_t size) {
    Region* region = live(address, size);
    if (!region) return -1;
    if (wholly_defined(region)) return 1;
    const uint64_t begin = address - region->begin, end = begin + size;
    const uint8_t* defined = defined_bits(region);
    for (uint64_t i = begin / 4; i * 4 < end; i++) {
        const uint8_t bytes = bytes_of_cell(i, begin, end);
        if ((defined[i] & bytes) != bytes) return 0;
    }
    return 1;
}

// A module's __device__ or __constant__ variable.
void emu_variable(uint64_t begin, uint64_t size) {
    if (!regions.count(begin)) regions[begin] = new Region{begin, size, VARIABLE};
}

// Before a launch: the kernel's __shared__ arrays, its dynamic shared memory, where its code lies.
void emu_use_shared(int count, const uint64_t* begins, const uint64_t* sizes, uint64_t dynamic_size, uint64_t code) {
    code_base = code;
    shared.clear();
    for (int i = 0; i < count; i++) {
        Region*& region = all_shared[begins[i]];
        if (!region) region = new Region{begins[i], sizes[i], SHARED};
        shared.push_back(region);
    }
    if (!dynamic_memory) {
        dynamic_memory = (char*)aligned_alloc(1024, DYNAMIC_SIZE + 2 * DYNAMIC_GAP);
        const uint64_t begin = reinterpret_cast<uint64_t>(dynamic_memory) + DYNAMIC_GAP;
        dynamic_region = new Region{begin, DYNAMIC_SIZE, SHARED};
        all_shared[begin] = dynamic_region;
    }
    dynamic_region->size = dynamic_size;
    if (dynamic_size) shared.push_back(dynamic_region);
}

int emu_findings(Finding* out, int most) {
    const int count = std::min(most, (int)findings.size());
    std::copy(findings.begin(), findings.begin() + count, out);
    return count;
}

// ---- atomics ------------------------------------------------------------------------------------------------------

#define ATOMIC(T, suffix, name, expression)                                                                          \
    T emu_##name##_##suffix(T* address, T value) {                                                                   \
        checker_atomic(address, sizeof(T), HERE);                                                                    \
        const T old = *address;                                                                                      \
        *address = (T)(expression);                                                                                  \
        return old;                                                                                                  \
    }
#define INTEGER_ATOMICS(T, suffix)                                                                                   \
    ATOMIC(T, suffix, atomicAdd, (unsigned long long)old + (unsigned long long)value)                                \
    ATOMIC(T, suffix, atomicExch, value)                                                                             \
    ATOMIC(T, suffix, atomicMin, value < old ? value : old)                                                          \
    ATOMIC(T, suffix, atomicMax, old < value ? value : old)                                                          \
    ATOMIC(T, suffix, atomicAnd, old & value)                                                                        \
    ATOMIC(T, suffix, atomicOr, old | value)                                                                         \
    ATOMIC(T, suffix, atomicXor, old ^ value)                                                                        \
    T emu_atomicCAS_##suffix(T* address, T compare, T value) {                                                       \
        checker_atomic(address, sizeof(T), HERE);                                                                    \
        const T old = *address;                                                                                      \
        if (old == compare) *address = value;                                                                        \
        return old;                                                                                                  \
    }
INTEGER_ATOMICS(int, i)
INTEGER_ATOMICS(unsigned int, u)
INTEGER_ATOMICS(unsigned long long, ull)
ATOMIC(float, f, atomicAdd, old + value)
ATOMIC(float, f, atomicExch, value)
ATOMIC(double, d, atomicAdd, old + value)
ATOMIC(int, i, atomicSub, (unsigned int)old - (unsigned int)value)
ATOMIC(unsigned int, u, atomicSub, old - value)
ATOMIC(unsigned int, u, atomicInc, old >= value ? 0 : old + 1)
ATOMIC(unsigned int, u, atomicDec, old == 0 || old > value ? value : old - 1)

// ---- what g++ calls before an access ------------------------------------------------------------------------------

#define SEEN(size)                                                                                                   \
    void __tsan_read##size(void* p) { on_access((uint64_t)p, size, READ, HERE); }                                    \
    void __tsan_write##size(void* p) { on_access((uint64_t)p, size, WRITE, HERE); }                                  \
    void __tsan_unaligned_read##size(void* p) { on_access((uint64_t)p, size, READ, HERE); }                          \
    void __tsan_unaligned_write##size(void* p) { on_access((uint64_t)p, size, WRITE, HERE); }                        \
    void __tsan_volatile_read##size(void* p) { on_access((uint64_t)p, size, READ, HERE); }                           \
    void __tsan_volatile_write##size(void* p) { on_access((uint64_t)p, size, WRITE, HERE); }
SEEN(1) SEEN(2) SEEN(4) SEEN(8) SEEN(16)
void __tsan_read_range(void* p, size_t size) { on_access((uint64_t)p, (uint32_t)size, READ, HERE); }
void __tsan_write_range(void* p, size_t size) { on_access((uint64_t)p, (uint32_t)size, WRITE, HERE); }
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

void __ubsan_handle_type_mismatch_v1(const char* data, uint64_t pointer) {
    const Place& place = *(const Place*)data;
    const Type& type = **(const Type* const*)(data + sizeof(Place));
    const int bytes = 1 << data[sizeof(Place) + sizeof(void*)];
    char text[160];
    snprintf(text, sizeof text, "%s needs an address divisible by %d, has 0x%llx", type.name, bytes,
             (unsigned long long)pointer);
    undefined_behaviour(MISALIGNED, place, HERE, text, true);
}

void __ubsan_handle_out_of_bounds(const char* data, uint64_t index) {
    const Place& place = *(const Place*)data;
    const Type& type = **(const Type* const*)(data + sizeof(Place));
    char text[160];
    snprintf(text, sizeof text, "index %lld into an array of type %s", (long long)index, type.name);
    undefined_behaviour(OUT_OF_BOUNDS, place, HERE, text, true);
}

#define OVERFLOWS(name, kind, what, fatal)                                                                           \
    void __ubsan_handle_##name(const Place* place, uint64_t, uint64_t) {                                             \
        undefined_behaviour(kind, *place, HERE, what, fatal);                                                        \
    }
OVERFLOWS(add_overflow, OVERFLOW, "the sum does not fit its type", false)
OVERFLOWS(sub_overflow, OVERFLOW, "the difference does not fit its type", false)
OVERFLOWS(mul_overflow, OVERFLOW, "the product does not fit its type", false)
OVERFLOWS(negate_overflow, OVERFLOW, "the negative does not fit its type", false)
OVERFLOWS(divrem_overflow, DIVISION, "a division by zero, or by -1 of the smallest number", true)
OVERFLOWS(shift_out_of_bounds, SHIFT, "a shift by more bits than the type has, or of or into the sign", false)

}  // extern "C"
