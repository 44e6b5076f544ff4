// The time limit of a launch: what never ends, ends with a finding, even a loop that touches nothing.
//
// A timer counts the processor time that this process uses. When the limit is reached, the next access, barrier or
// warp operation ends the launch (count_step). Where none comes within a second, the thread is stopped where it is.
#include "runtime.h"

#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <ucontext.h>

#include <cstdio>

namespace emu {

double time_limit = 0;
bool late = false;

namespace {

pthread_t launching;
struct sigaction before;

uint64_t interrupted_at(void* context) {
#if defined(__x86_64__)
    return (uint64_t)static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] + 1;  // as if returned to
#else
    return 0;
#endif
}

void on_time(int number, siginfo_t*, void* context) {
    if (!pthread_equal(pthread_self(), launching)) {
        pthread_kill(launching, number);
        return;
    }
    const bool again = late;
    late = true;
    step_limit = 0;
    char here;
    const bool in_thread = current && (uint64_t)&here - (uint64_t)current->stack < STACK;
    if (again && in_thread) count_step(interrupted_at(context));
}

void set_timer(double first, double then) {
    auto time = [](double seconds) {
        return timeval{(time_t)seconds, (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)};
    };
    const itimerval timer = {time(then), time(first)};
    setitimer(ITIMER_VIRTUAL, &timer, nullptr);
}

}  // namespace

void begin_clock() {
    late = false;
    if (time_limit <= 0) return;
    launching = pthread_self();
    struct sigaction action = {};
    action.sa_sigaction = on_time;
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART;  // NODEFER: the handler may be left for the scheduler
    sigaction(SIGVTALRM, &action, &before);
    set_timer(time_limit, 1);
}

void end_clock() {
    if (time_limit <= 0) return;
    set_timer(0, 0);
    sigaction(SIGVTALRM, &before, nullptr);
}

}  // namespace emu

extern "C" void emu_set_time_limit(double seconds) { emu::time_limit = seconds; }
