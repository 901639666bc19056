/* Runs a model once on QEMU's mps2-an386 and prints its logits and the class through semihosting.
   The model comes from the linker (MODEL in the build: `.incbin`). */
#include <stdio.h>

#include "releq.h"

__asm__(".section .rodata.model, \"a\"\n"
        ".balign 16\n"
        ".global model_start\nmodel_start:\n"
        ".incbin \"" MODEL "\"\n"
        ".global model_end\nmodel_end:\n"
        ".previous\n");
extern const uint8_t model_start[], model_end[];

#ifndef ARENA_BYTES
#define ARENA_BYTES 32768 /* `releq inspect` and releq_arena_bytes say what a model needs */
#endif
static uint8_t arena[ARENA_BYTES] __attribute__((aligned(16)));
static uint8_t image[28 * 28];
static int32_t logits[10];

int main(void) {
  const size_t len = (size_t)(model_end - model_start);
  releq_model model;
  for (unsigned i = 0; i < sizeof image; i++) image[i] = (uint8_t)(i * 7 % 251);

  int status = releq_open(&model, model_start, len, arena, sizeof arena);
  if (status != RELEQ_OK) {
    int needed = releq_arena_bytes(model_start, len);
    printf("%s", releq_error_text(status));
    if (needed > 0) printf(" (of %d bytes)", needed);
    printf("\n");
    return 1;
  }
  int class = releq_infer(&model, image, sizeof image, logits, 10);
  if (class < 0) {
    printf("%s\n", releq_error_text(class));
    return 1;
  }
  printf("logits Ok([");
  for (int i = 0; i < 10; i++) printf(i ? ", %ld" : "%ld", (long)logits[i]);
  printf("])\nclass Ok(%d)\n", class);
  return 0;
}
