//! Messages: what a host asks and a device answers, in postcard.

use core::fmt;

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::blob::BlobError;

/// The protocol that this crate speaks.
pub const PROTOCOL_VERSION: u16 = 2;
/// Logits of one reply.
pub const LOGITS_A_REPLY: usize = 64;
/// Operations of one reply.
pub const TICKS_A_REPLY: usize = 32;

/// What a host asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request<'a> {
    /// Who are you? Starts a session: the device forgets the sequence numbers of the one before.
    Hello {
        /// Distinguishes sessions.
        nonce: u32,
    },
    /// A model of `len` bytes follows. The one before is gone.
    LoadBegin {
        /// Bytes of the blob.
        len: u32,
    },
    /// A piece of the model.
    LoadChunk {
        /// Where it belongs.
        offset: u32,
        /// The piece.
        data: &'a [u8],
    },
    /// The model is complete: check it.
    LoadEnd,
    /// A piece of an input that is longer than a frame.
    Input {
        /// Where it belongs.
        offset: u32,
        /// The piece.
        data: &'a [u8],
    },
    /// Run the network on `data`, or, if that is empty, on what [`Request::Input`] brought.
    Infer {
        /// The input, by row, column, channel.
        data: &'a [u8],
    },
    /// Logits of the last inference from `first` on.
    Logits {
        /// The first one wanted.
        first: u32,
    },
    /// Ticks of each operation of the last inference, from `first` on.
    Profile {
        /// The first operation wanted.
        first: u16,
    },
    /// How memory is used.
    Memory,
    /// Start again as after power-up.
    Reset,
    /// Use the model that lies in the device's flash. The one before is gone.
    UseStored,
    /// Fail, in an image that was built for tests of that.
    Provoke {
        /// How.
        what: Provocation,
    },
}

/// How a device is asked to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Provocation {
    /// By a panic.
    Panic,
    /// By an undefined instruction.
    HardFault,
    /// By going down the stack to its end.
    StackOverflow,
    /// By work without end.
    Hang,
}

/// What a device answers.
#[allow(
    clippy::large_enum_variant,
    reason = "a reply lives on the stack for one exchange; boxes would need an allocator"
)]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response<'a> {
    /// To [`Request::Hello`].
    #[serde(borrow)]
    Hello(HelloReply<'a>),
    /// The request is done; nothing more to say.
    Done,
    /// To [`Request::LoadEnd`] and [`Request::UseStored`].
    Loaded(LoadedReply),
    /// To [`Request::Infer`] and [`Request::Logits`].
    Logits {
        /// Ticks of the counter from the first operation to the last.
        ticks: u64,
        /// Logits of the network.
        total: u32,
        /// This reply's.
        logits: Vec<i32, LOGITS_A_REPLY>,
    },
    /// To [`Request::Profile`].
    Profile {
        /// Operations of the network.
        total: u16,
        /// This reply's.
        ops: Vec<OpTicks, TICKS_A_REPLY>,
    },
    /// To [`Request::Memory`].
    Memory(MemoryReply),
    /// The request cannot be served.
    Error(DeviceError),
}

/// Who a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloReply<'a> {
    /// The request's nonce.
    pub nonce: u32,
    /// [`PROTOCOL_VERSION`] of the firmware.
    pub protocol: u16,
    /// Version of the firmware.
    pub version: &'a str,
    /// Name of the board, as its folder.
    pub board: &'a str,
    /// Its core, such as `cortex-m4f`.
    pub core: &'a str,
    /// Clock of the core in hertz.
    pub clock_hz: u32,
    /// What its ticks are.
    pub counter: Counter,
    /// Bytes that a model may have.
    pub model_max: u32,
    /// Bytes for activations and scratch.
    pub arena: u32,
}

/// What a tick of the device's counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Counter {
    /// Nothing: ticks are 0.
    None,
    /// Cycles of the core.
    Cycles,
    /// Instructions under an emulator: `ticks * numerator / denominator`.
    Instructions {
        /// Numerator.
        numerator: u32,
        /// Denominator.
        denominator: u32,
    },
}

/// A model that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadedReply {
    /// Bytes of its input.
    pub input: u32,
    /// Its logits.
    pub logits: u32,
    /// Its operations.
    pub ops: u16,
    /// Bytes of arena that it takes, scratch included.
    pub arena: u32,
    /// Its checksum, by which a host tells it from another.
    pub checksum: u32,
}

/// Ticks of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpTicks(
    /// From its start to its end.
    pub u64,
);

/// How memory is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryReply {
    /// Static data, without the model's slot and the arena.
    pub statics: u32,
    /// Bytes of arena that the loaded model takes, 0 without one.
    pub arena_used: u32,
    /// Bytes of arena that there are.
    pub arena_total: u32,
    /// Deepest stack so far.
    pub stack_used: u32,
    /// Bytes of stack that there are.
    pub stack_total: u32,
    /// Code and constants in flash.
    pub flash_used: u32,
}

/// Why a device cannot serve a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum DeviceError {
    /// Postcard cannot read the request: another protocol version, most likely.
    Malformed,
    /// The model is longer than the slot.
    ModelTooLarge {
        /// Its bytes.
        len: u32,
        /// The slot's.
        available: u32,
    },
    /// A piece lies outside what was announced.
    OutOfRange {
        /// Where it should go.
        offset: u32,
        /// Its bytes.
        len: u32,
        /// Bytes that there are.
        available: u32,
    },
    /// The model is not complete.
    Incomplete {
        /// Bytes that came, in one piece from the start.
        received: u32,
        /// Bytes announced.
        announced: u32,
    },
    /// The model is refused.
    Blob(BlobError),
    /// There is no model.
    NoModel,
    /// The input has another length than the model's.
    InputLength {
        /// Bytes given.
        given: u32,
        /// Bytes wanted.
        wanted: u32,
    },
    /// There was no inference that this could be about.
    NoInference,
    /// What lies in the device's flash, if anything, is no model that it accepts.
    Stored(BlobError),
    /// This image was not built for that.
    NotInThisImage,
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Malformed => f.write_str("the board cannot read the request; is its firmware of another version?"),
            Self::ModelTooLarge { len, available } => {
                write!(f, "the model has {len} bytes, the board has room for {available}")
            }
            Self::OutOfRange { offset, len, available } => {
                write!(f, "{len} bytes at {offset} lie outside the {available} that were announced")
            }
            Self::Incomplete { received, announced } => {
                write!(f, "the model is incomplete: {received} of {announced} bytes have arrived")
            }
            Self::Blob(error) => write!(f, "the board refuses the model: {error}"),
            Self::NoModel => f.write_str("the board has no valid model; load one first"),
            Self::InputLength { given, wanted } => write!(f, "the input has {given} bytes, the model takes {wanted}"),
            Self::NoInference => f.write_str("the board has not run the model yet"),
            Self::NotInThisImage => f.write_str("the board's firmware was not built for this request"),
            Self::Stored(error) => write!(f, "the board has no valid model in its flash: {error}"),
        }
    }
}

impl core::error::Error for DeviceError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::PAYLOAD_MAX;

    #[test]
    fn the_longest_replies_fit_a_frame() {
        let mut logits = Vec::new();
        while logits.push(i32::MIN).is_ok() {}
        let mut ops = Vec::new();
        while ops.push(OpTicks(u64::MAX)).is_ok() {}
        let replies =
            [Response::Logits { ticks: u64::MAX, total: u32::MAX, logits }, Response::Profile { total: u16::MAX, ops }];
        for reply in replies {
            let mut buffer = [0; PAYLOAD_MAX];
            let bytes = postcard::to_slice(&reply, &mut buffer).unwrap();
            assert_eq!(postcard::from_bytes::<Response<'_>>(bytes).unwrap(), reply);
        }
    }
}
