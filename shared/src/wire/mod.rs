//! Frames and messages between host and device, over any stream of bytes. `docs/wire-protocol.md` is the protocol's
//! document.

mod frame;
mod message;

pub use frame::{
    Decoder, FRAME_MAX, Frame, FrameError, FrameKind, HEADER_LEN, PAYLOAD_MAX, encode, encode_message, encoded_max,
};
pub use message::{
    Counter, DeviceError, HelloReply, LOGITS_A_REPLY, LoadedReply, MemoryReply, OpTicks, PROTOCOL_VERSION, Provocation,
    Request, Response, TICKS_A_REPLY,
};
