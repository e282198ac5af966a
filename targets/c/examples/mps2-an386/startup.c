// What runs before main() on a Cortex-M with an FPU: vectors, memory, console by
// semihosting, and a painted stack.

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

extern uint32_t data_source[], data_start[], data_end[], bss_start[], bss_end[];
extern uint32_t stack_start[], stack_end[];

int main(void);
void initialise_monitor_handles(void);
void reset(void);
size_t stack_used(void);

#define PAINT 0x5AFE57ACu
#define CPACR (*(volatile uint32_t *)0xE000ED88)

static void fault(void) {
    exit(70);
}

__attribute__((section(".vectors"), used)) static void *const vectors[16] = {
    stack_end, (void *)reset, (void *)fault, (void *)fault, (void *)fault, (void *)fault,
    (void *)fault,
};

__attribute__((naked)) void reset(void) {
    // Paints the stack before anything is on it, then goes on in C.
    __asm__ volatile(
        "ldr r0, =stack_start\n ldr r1, =stack_end\n ldr r2, =0x5AFE57AC\n"
        "1: cmp r0, r1\n it lo\n strlo r2, [r0], #4\n blo 1b\n"
        "b start\n");
}

__attribute__((used, noreturn)) static void start(void) {
    CPACR |= 0xFu << 20;
    __asm__ volatile("dsb\n isb");
    for (uint32_t *to = data_start, *from = data_source; to < data_end;) *to++ = *from++;
    for (uint32_t *to = bss_start; to < bss_end;) *to++ = 0;
    initialise_monitor_handles();
    exit(main());
}

size_t stack_used(void) {
    const uint32_t *free = stack_start;
    while (free < stack_end && *free == PAINT) free++;
    return (size_t)((const char *)stack_end - (const char *)free);
}

void _init(void) {}
void _fini(void) {}
