/* releq: integer inference of networks of 1 to 8 bits a weight. Made by cbindgen from firmware/c/src/lib.rs. */

#ifndef RELEQ_H
#define RELEQ_H

#include <stddef.h>
#include <stdint.h>

/*
 All went well.
 */
#define RELEQ_OK 0

/*
 A pointer is null.
 */
#define RELEQ_NULL -1

/*
 The bytes are no model, or one of a format that this library does not read.
 */
#define RELEQ_NOT_A_MODEL -2

/*
 The model is damaged: its length, checksum or contents are not what they should be.
 */
#define RELEQ_DAMAGED -3

/*
 The model or the arena does not start at a multiple of 16 bytes.
 */
#define RELEQ_MISALIGNED -4

/*
 The arena is too small: releq_arena_bytes says how large it must be.
 */
#define RELEQ_ARENA_TOO_SMALL -5

/*
 The input or the logits have another length than the model's.
 */
#define RELEQ_WRONG_LENGTH -6

/*
 A model bound to its working memory. Filled by releq_open, which its bytes and its arena must outlive; the members are for this
 library alone.
 */
typedef struct releq_model {
  const uint8_t *bytes;
  size_t len;
  uint8_t *arena;
  size_t arena_len;
} releq_model;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 Checks the model in `bytes` and returns how much working memory it needs on this core, or an error (below zero).

 # Safety
 `bytes` is null or points to `len` bytes that can be read.
 */
int32_t releq_arena_bytes(const uint8_t *bytes,
                          size_t len);

/*
 Checks the model in `bytes` and binds it to an arena, both aligned to 16 bytes. Returns RELEQ_OK or an error; after an error the
 model cannot be used.

 # Safety
 Each pointer is null or points to as many bytes as stated. Bytes and arena stay where they are, and nothing else writes to
 them, as long as the model is used.
 */
int32_t releq_open(struct releq_model *model,
                   const uint8_t *bytes,
                   size_t len,
                   uint8_t *arena,
                   size_t arena_len);

/*
 Runs the model on an input (rows, then columns, then channels, one byte each) and writes its logits. Returns the index of the
 largest logit, the first of equal ones, or an error (below zero).

 # Safety
 `model` is null or was given to releq_open; `input` and `logits` are null or point to as many elements as stated.
 */
int32_t releq_infer(struct releq_model *model,
                    const uint8_t *input,
                    size_t input_len,
                    int32_t *logits,
                    size_t logits_len);

/*
 What a code that one of these functions has returned means, as a sentence in English.
 */
const char *releq_error_text(int32_t code);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* RELEQ_H */
