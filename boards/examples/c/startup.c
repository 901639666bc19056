/* The least start-up for newlib with semihosting (rdimon.specs): vector table, FPU, static data; newlib's _start does the rest. */
#include <stdint.h>

extern uint32_t _stack_top;
extern void _start(void);

static void stop(void) {
  for (;;) {
  }
}

void reset(void);
void reset(void) {
  *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* the FPU on */
  _start();
  stop();
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    &_stack_top, (const void *)reset, (const void *)stop, (const void *)stop};
