// What each line's accesses would cost a GPU's memory: 32-byte sectors of global memory, passes over the 32 banks of
// shared memory. A warp's request is put together from its lanes' n-th executions of the same instruction.
#include "runtime.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <unordered_map>

namespace emu {

bool profiling = false;

namespace {

struct Step {
    uint64_t pc, address;
    uint32_t size;
    int access;
    bool shared;
};

struct Line {
    uint64_t pc;
    int access, shared;
    uint64_t requests, units, fewest;  // units: sectors or passes; fewest: for the same bytes, well laid out
};

std::vector<std::vector<Step>> steps;  // of each thread of the block, in its order
std::map<uint64_t, Line> lines;

uint64_t count_distinct(std::vector<uint64_t>& numbers) {
    std::sort(numbers.begin(), numbers.end());
    return std::unique(numbers.begin(), numbers.end()) - numbers.begin();
}

// Sectors that a request touches, and the fewest that hold as many different bytes.
void global_request(const std::vector<const Step*>& lanes, Line& line) {
    std::vector<uint64_t> sectors, words;
    for (const Step* step : lanes)
        for (uint64_t byte = step->address; byte < step->address + step->size; byte++) {
            words.push_back(byte);
            sectors.push_back(byte / 32);
        }
    line.units += count_distinct(sectors);
    line.fewest += (count_distinct(words) + 31) / 32;
}

// A bank gives one word of 4 bytes at a time, to all lanes that want it. 8 and 16 bytes a lane go half-warp by
// half-warp and quarter by quarter.
void shared_request(const std::vector<const Step*>& lanes, Line& line) {
    const size_t together = std::max<size_t>(1, 32 / std::max<size_t>(1, lanes[0]->size / 4));
    for (size_t begin = 0; begin < lanes.size(); begin += together) {
        std::vector<uint64_t> banks[32];
        for (size_t i = begin; i < std::min(lanes.size(), begin + together); i++)
            for (uint64_t word = lanes[i]->address / 4; word * 4 < lanes[i]->address + lanes[i]->size; word++)
                banks[word % 32].push_back(word);
        uint64_t passes = 0;
        for (auto& words : banks) passes = std::max(passes, count_distinct(words));
        line.units += passes;
        line.fewest += 1;
    }
}

}  // namespace

void profile_access(uint64_t pc, uint64_t address, uint32_t size, int access, bool shared) {
    if (steps.size() <= current->id) steps.resize(current->id + 1);
    steps[current->id].push_back({pc, address, size, access, shared});
}

void profile_end_block() {
    for (size_t first = 0; first < steps.size(); first += 32) {
        std::map<std::pair<uint64_t, uint64_t>, std::vector<const Step*>> requests;  // by pc and its how-manieth time
        for (size_t lane = first; lane < std::min(steps.size(), first + 32); lane++) {
            std::unordered_map<uint64_t, uint64_t> times;
            for (const Step& step : steps[lane]) requests[{step.pc, times[step.pc]++}].push_back(&step);
        }
        for (const auto& request : requests) {
            const Step& step = *request.second[0];
            Line& line = lines.insert({step.pc, Line{step.pc, step.access, step.shared, 0, 0, 0}}).first->second;
            line.requests++;
            if (step.shared) shared_request(request.second, line);
            else global_request(request.second, line);
        }
    }
    for (auto& thread : steps) thread.clear();
}

}  // namespace emu

using namespace emu;

extern "C" {

void emu_set_profiling(int on) {
    profiling = on;
    steps.clear();
    lines.clear();
}

// The lines of the launches since emu_set_profiling or the last call.
int emu_profile(Line* out, int most) {
    int count = 0;
    for (const auto& line : lines)
        if (count < most) out[count++] = line.second;
    lines.clear();
    return count;
}

}  // extern "C"
