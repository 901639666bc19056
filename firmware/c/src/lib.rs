//! The engine for programs in C: `releq.h` is made of this file by cbindgen.
#![no_std]

use core::ffi::{CStr, c_char};
use core::slice;

use releq_firmware::{Engine, required_arena};
use releq_shared::blob::{Blob, BlobError};

/// All went well.
pub const RELEQ_OK: i32 = 0;
/// A pointer is null.
pub const RELEQ_NULL: i32 = -1;
/// The bytes are no model, or one of a format that this library does not read.
pub const RELEQ_NOT_A_MODEL: i32 = -2;
/// The model is damaged: its length, checksum or contents are not what they should be.
pub const RELEQ_DAMAGED: i32 = -3;
/// The model or the arena does not start at a multiple of 16 bytes.
pub const RELEQ_MISALIGNED: i32 = -4;
/// The arena is too small: releq_arena_bytes says how large it must be.
pub const RELEQ_ARENA_TOO_SMALL: i32 = -5;
/// The input or the logits have another length than the model's.
pub const RELEQ_WRONG_LENGTH: i32 = -6;

/// A model bound to its working memory. Filled by releq_open, which its bytes and its arena must outlive; the members are for this
/// library alone.
#[repr(C)]
pub struct releq_model {
    bytes: *const u8,
    len: usize,
    arena: *mut u8,
    arena_len: usize,
}

fn code(error: BlobError) -> i32 {
    match error {
        BlobError::TooShort { .. } | BlobError::BadMagic { .. } | BlobError::UnsupportedVersion { .. } => {
            RELEQ_NOT_A_MODEL
        }
        BlobError::Misaligned { .. } | BlobError::ArenaMisaligned { .. } => RELEQ_MISALIGNED,
        BlobError::ArenaTooSmall { .. } => RELEQ_ARENA_TOO_SMALL,
        _ => RELEQ_DAMAGED,
    }
}

/// Checks the model in `bytes` and returns how much working memory it needs on this core, or an error (below zero).
///
/// # Safety
/// `bytes` is null or points to `len` bytes that can be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn releq_arena_bytes(bytes: *const u8, len: usize) -> i32 {
    if bytes.is_null() {
        return RELEQ_NULL;
    }
    // SAFETY: the caller's promise.
    match Blob::new_checked(unsafe { slice::from_raw_parts(bytes, len) }) {
        Ok(blob) => i32::try_from(required_arena(&blob)).unwrap_or(i32::MAX),
        Err(error) => code(error),
    }
}

/// Checks the model in `bytes` and binds it to an arena, both aligned to 16 bytes. Returns RELEQ_OK or an error; after an error the
/// model cannot be used.
///
/// # Safety
/// Each pointer is null or points to as many bytes as stated. Bytes and arena stay where they are, and nothing else writes to
/// them, as long as the model is used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn releq_open(
    model: *mut releq_model,
    bytes: *const u8,
    len: usize,
    arena: *mut u8,
    arena_len: usize,
) -> i32 {
    if model.is_null() || bytes.is_null() || arena.is_null() {
        return RELEQ_NULL;
    }
    // SAFETY: the caller's promise.
    let (blob, memory) =
        unsafe { (Blob::new_checked(slice::from_raw_parts(bytes, len)), slice::from_raw_parts_mut(arena, arena_len)) };
    let opened = blob.and_then(|blob| Engine::new(blob, memory).map(|_| ()));
    let usable = opened.is_ok();
    let bytes = if usable { bytes } else { core::ptr::null() };
    // SAFETY: the caller's promise; the memory may not be initialised.
    unsafe { model.write(releq_model { bytes, len, arena, arena_len }) };
    opened.map_or_else(code, |()| RELEQ_OK)
}

/// Runs the model on an input (rows, then columns, then channels, one byte each) and writes its logits. Returns the index of the
/// largest logit, the first of equal ones, or an error (below zero).
///
/// # Safety
/// `model` is null or was given to releq_open; `input` and `logits` are null or point to as many elements as stated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn releq_infer(
    model: *mut releq_model,
    input: *const u8,
    input_len: usize,
    logits: *mut i32,
    logits_len: usize,
) -> i32 {
    if model.is_null() || input.is_null() || logits.is_null() {
        return RELEQ_NULL;
    }
    // SAFETY: the caller's promise.
    let model = unsafe { &*model };
    if model.bytes.is_null() {
        return RELEQ_NULL;
    }
    // SAFETY: releq_open has had these from the caller, who promised that they stay.
    let (bytes, arena) = unsafe {
        (slice::from_raw_parts(model.bytes, model.len), slice::from_raw_parts_mut(model.arena, model.arena_len))
    };
    // SAFETY: the caller's promise.
    let (input, logits) =
        unsafe { (slice::from_raw_parts(input, input_len), slice::from_raw_parts_mut(logits, logits_len)) };
    let mut engine = match Blob::reopen(bytes).and_then(|blob| Engine::new(blob, arena)) {
        Ok(engine) => engine,
        Err(error) => return code(error),
    };
    if engine.input_mut().len() != input.len() || engine.output().len() != logits.len() {
        return RELEQ_WRONG_LENGTH;
    }
    engine.input_mut().copy_from_slice(input);
    engine.run(&mut ());
    logits.copy_from_slice(engine.output());
    let best = logits.iter().enumerate().max_by_key(|&(index, logit)| (logit, core::cmp::Reverse(index)));
    best.map_or(0, |(index, _)| index as i32)
}

/// What a code that one of these functions has returned means, as a sentence in English.
#[unsafe(no_mangle)]
pub extern "C" fn releq_error_text(code: i32) -> *const c_char {
    let text: &'static CStr = match code {
        RELEQ_OK.. => c"no error",
        RELEQ_NULL => c"a pointer is null, or the model has not been opened",
        RELEQ_NOT_A_MODEL => {
            c"these bytes are no model that this library reads: pack it with the same release of releq"
        }
        RELEQ_DAMAGED => c"the model is damaged",
        RELEQ_MISALIGNED => c"model and arena must start at a multiple of 16 bytes",
        RELEQ_ARENA_TOO_SMALL => c"the arena is too small: releq_arena_bytes says how large it must be",
        RELEQ_WRONG_LENGTH => c"the input or the logits have another length than the model's",
        _ => c"an unknown error",
    };
    text.as_ptr()
}

/// Nothing here panics with a model that was checked and memory that is left alone. Should it come to that, the processor stops at
/// an undefined instruction, which the program's fault handler sees; nothing unwinds into C.
#[cfg(target_os = "none")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: `udf` always faults; what follows is never reached.
    unsafe { core::arch::asm!("udf #0", options(noreturn)) }
}
