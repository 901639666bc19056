//! Frames: `COBS(kind, sequence number, payload, CRC-32)` and a zero byte.
//!
//! A zero byte never occurs inside a frame, so a receiver that has lost its place finds it again at the next one. What
//! does not decode, is too long or fails its checksum is dropped and counted; the sender will repeat itself.

use serde::Serialize;

use crate::blob::CRC32;

/// The longest payload.
pub const PAYLOAD_MAX: usize = 1024;
/// Bytes before the payload: kind and sequence number.
pub const HEADER_LEN: usize = 3;
const CRC_LEN: usize = 4;
/// The longest frame before COBS.
const RAW_MAX: usize = HEADER_LEN + PAYLOAD_MAX + CRC_LEN;
/// The longest frame on the wire, with COBS and the final zero.
pub const FRAME_MAX: usize = encoded_max(PAYLOAD_MAX);

/// Bytes on the wire of a frame with so long a payload, at most.
#[must_use]
pub const fn encoded_max(payload: usize) -> usize {
    let raw = HEADER_LEN + payload + CRC_LEN;
    raw + raw / 254 + 1 + 1
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum FrameKind {
    /// A postcard [`Request`](super::Request) or [`Response`](super::Response).
    Message,
    /// One defmt frame, in defmt's raw encoding.
    Log,
}

impl FrameKind {
    const fn byte(self) -> u8 {
        match self {
            Self::Message => 1,
            Self::Log => 2,
        }
    }

    const fn of(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Message),
            2 => Some(Self::Log),
            _ => None,
        }
    }
}

/// Why bytes were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum FrameError {
    /// Longer than any frame.
    TooLong,
    /// No COBS, too short, or of no known kind.
    Malformed,
    /// The checksum does not hold.
    Checksum,
}

/// Writes a frame to `out` and returns its length on the wire. `out` needs [`encoded_max`] bytes; `None` if it is shorter
/// or the payload is longer than [`PAYLOAD_MAX`].
pub fn encode(kind: FrameKind, sequence: u16, payload: &[u8], out: &mut [u8]) -> Option<usize> {
    if payload.len() > PAYLOAD_MAX || out.len() < encoded_max(payload.len()) {
        return None;
    }
    let mut framer = Framer::new(kind, sequence, out);
    framer.put(payload);
    Some(framer.finish())
}

/// Writes the frame of a message to `out`, which is as long as the longest frame, and returns its length on the wire:
/// [`encode`] of the message in postcard, without a buffer for it. `None` if it is longer than [`PAYLOAD_MAX`].
pub fn encode_message(sequence: u16, message: &impl Serialize, out: &mut [u8; FRAME_MAX]) -> Option<usize> {
    let framer = Framer::new(FrameKind::Message, sequence, out);
    postcard::serialize_with_flavor(message, Payload { framer, left: PAYLOAD_MAX }).ok()
}

/// A frame in the making.
struct Framer<'a> {
    digest: crc::Digest<'static, u32, crc::NoTable>,
    cobs: Cobs<'a>,
}

impl<'a> Framer<'a> {
    fn new(kind: FrameKind, sequence: u16, out: &'a mut [u8]) -> Self {
        let mut framer = Self { digest: CRC32.digest(), cobs: Cobs { out, at: 1, code_at: 0, code: 1 } };
        let [low, high] = sequence.to_le_bytes();
        framer.put(&[kind.byte(), low, high]);
        framer
    }

    fn put(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        for &byte in bytes {
            self.cobs.push(byte);
        }
    }

    fn finish(mut self) -> usize {
        for byte in self.digest.finalize().to_le_bytes() {
            self.cobs.push(byte);
        }
        self.cobs.finish()
    }
}

/// Where postcard writes a frame's payload.
struct Payload<'a> {
    framer: Framer<'a>,
    left: usize,
}

impl postcard::ser_flavors::Flavor for Payload<'_> {
    type Output = usize;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.left = self.left.checked_sub(bytes.len()).ok_or(postcard::Error::SerializeBufferFull)?;
        self.framer.put(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<usize> {
        Ok(self.framer.finish())
    }
}

/// Consistent overhead byte stuffing, byte by byte: the `cobs` crate wants the whole frame in one slice, which would cost
/// a device a second buffer.
struct Cobs<'a> {
    out: &'a mut [u8],
    at: usize,
    code_at: usize,
    code: u8,
}

impl Cobs<'_> {
    fn push(&mut self, byte: u8) {
        if byte == 0 {
            self.close();
            return;
        }
        self.out[self.at] = byte;
        self.at += 1;
        self.code += 1;
        if self.code == u8::MAX {
            self.close();
        }
    }

    fn close(&mut self) {
        self.out[self.code_at] = self.code;
        self.code_at = self.at;
        self.code = 1;
        self.at += 1;
    }

    fn finish(mut self) -> usize {
        self.close();
        self.out[self.at - 1] = 0;
        self.at
    }
}

/// A frame as it arrived: what it carries, its sequence number and its payload.
pub type Frame<'a> = (FrameKind, u16, &'a [u8]);

/// Takes bytes as they come and gives frames.
#[derive(Debug)]
pub struct Decoder {
    buffer: [u8; RAW_MAX],
    len: usize,
    /// Bytes until the next code byte of COBS; 0: the next byte is one.
    left: u8,
    /// Whether the block that ends next stands for a zero.
    zero_behind: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reading,
    Dropping(FrameError),
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// At the start of a frame.
    #[must_use]
    pub const fn new() -> Self {
        Self { buffer: [0; RAW_MAX], len: 0, left: 0, zero_behind: false, state: State::Reading }
    }

    /// Takes one byte. At the end of a frame gives its kind, sequence number and payload, or why it was dropped; nothing
    /// in between, and nothing for empty frames.
    pub fn push(&mut self, byte: u8) -> Option<Result<Frame<'_>, FrameError>> {
        if byte != 0 {
            if self.state == State::Reading {
                self.take(byte);
            }
            return None;
        }
        let (len, state, unfinished) = (self.len, self.state, self.left != 0);
        let empty = len == 0 && !unfinished && !self.zero_behind;
        (self.len, self.left, self.zero_behind, self.state) = (0, 0, false, State::Reading);
        match state {
            State::Dropping(error) => Some(Err(error)),
            State::Reading if empty => None,
            State::Reading if unfinished => Some(Err(FrameError::Malformed)),
            State::Reading => Some(parse(&self.buffer[..len])),
        }
    }

    fn take(&mut self, byte: u8) {
        if self.left > 0 {
            self.left -= 1;
            self.store(byte);
            return;
        }
        if self.zero_behind {
            self.store(0);
        }
        self.left = byte - 1;
        self.zero_behind = byte != u8::MAX;
    }

    fn store(&mut self, byte: u8) {
        match self.buffer.get_mut(self.len) {
            Some(place) => {
                *place = byte;
                self.len += 1;
            }
            None => self.state = State::Dropping(FrameError::TooLong),
        }
    }
}

fn parse(raw: &[u8]) -> Result<Frame<'_>, FrameError> {
    let (body, crc) = raw.split_last_chunk::<CRC_LEN>().ok_or(FrameError::Malformed)?;
    let (header, payload) = body.split_first_chunk::<HEADER_LEN>().ok_or(FrameError::Malformed)?;
    if CRC32.checksum(body) != u32::from_le_bytes(*crc) {
        return Err(FrameError::Checksum);
    }
    let kind = FrameKind::of(header[0]).ok_or(FrameError::Malformed)?;
    Ok((kind, u16::from_le_bytes([header[1], header[2]]), payload))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    type Owned = Result<(FrameKind, u16, Vec<u8>), FrameError>;

    fn decode(bytes: &[u8]) -> Vec<Owned> {
        let mut decoder = Decoder::new();
        let mut frames = Vec::new();
        for &byte in bytes {
            if let Some(frame) = decoder.push(byte) {
                frames.push(frame.map(|(kind, sequence, payload)| (kind, sequence, payload.to_vec())));
            }
        }
        frames
    }

    fn framed(sequence: u16, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0xAA; encoded_max(payload.len())];
        let len = encode(FrameKind::Message, sequence, payload, &mut out).unwrap();
        out.truncate(len);
        out
    }

    fn payloads() -> impl Strategy<Value = Vec<u8>> {
        // Zeros and long runs without them are what COBS is about.
        let byte = prop_oneof![Just(0u8), any::<u8>(), Just(7u8)];
        prop_oneof![proptest::collection::vec(byte, 0..600), proptest::collection::vec(1u8..=255, 240..=PAYLOAD_MAX)]
    }

    proptest! {
        #[test]
        fn frames_arrive_as_they_were_sent(sequence: u16, payload in payloads(), garbage in proptest::collection::vec(any::<u8>(), 0..50)) {
            let frame = framed(sequence, &payload);
            prop_assert!(!frame[..frame.len() - 1].contains(&0));
            prop_assert_eq!(decode(&frame), [Ok((FrameKind::Message, sequence, payload.clone()))]);
            // Behind garbage and a zero the next frame is found again.
            let stream = [&garbage[..], &[0], &frame, &frame].concat();
            let frames = decode(&stream);
            prop_assert_eq!(&frames[frames.len() - 2..], [
                Ok((FrameKind::Message, sequence, payload.clone())),
                Ok((FrameKind::Message, sequence, payload)),
            ]);
        }

        #[test]
        fn the_encoding_is_cobs(payload in payloads()) {
            let frame = framed(5, &payload);
            let decoded = cobs::decode_vec(&frame[..frame.len() - 1]).unwrap();
            prop_assert_eq!(&decoded[HEADER_LEN..decoded.len() - CRC_LEN], &payload[..]);
        }

        #[test]
        fn damaged_frames_are_noticed(payload in payloads(), place: prop::sample::Index, flip in 1u8..=255) {
            let mut frame = framed(9, &payload);
            let place = place.index(frame.len());
            frame[place] ^= flip;
            frame.push(0);
            for frame in decode(&frame) {
                prop_assert!(frame.is_err(), "{frame:?}");
            }
        }
    }

    #[test]
    fn a_message_makes_the_frame_of_its_postcard_form() {
        let message = (7u8, 300u32, &[0u8, 1, 0, 255][..], "text");
        let mut out = [0; FRAME_MAX];
        let len = encode_message(77, &message, &mut out).unwrap();
        assert_eq!(out[..len], framed(77, postcard::to_slice(&message, &mut [0; 64]).unwrap()));
        let bytes = [1u8; PAYLOAD_MAX];
        assert!(encode_message(0, &&bytes[..PAYLOAD_MAX - 2], &mut out).is_some());
        assert_eq!(encode_message(0, &&bytes[..PAYLOAD_MAX - 1], &mut out), None);
    }

    #[test]
    fn frames_that_are_too_long_are_dropped_and_the_next_is_read() {
        let mut stream = vec![1; 3 * FRAME_MAX];
        stream.push(0);
        stream.extend(framed(1, b"next"));
        assert_eq!(decode(&stream), [Err(FrameError::TooLong), Ok((FrameKind::Message, 1, b"next".to_vec()))]);
    }

    #[test]
    fn payloads_that_are_too_long_are_not_sent() {
        assert_eq!(encode(FrameKind::Log, 0, &[0; PAYLOAD_MAX + 1], &mut [0; 2 * FRAME_MAX]), None);
        assert_eq!(encode(FrameKind::Log, 0, &[0; 10], &mut [0; 10]), None);
        assert!(encode(FrameKind::Log, 0, &[1; PAYLOAD_MAX], &mut [0; FRAME_MAX]).is_some());
    }
}
