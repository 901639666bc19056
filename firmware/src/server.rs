//! The server: answers the host's requests over any stream of bytes. `docs/wire-protocol.md` is its contract.
//!
//! One request is served at a time. A request that comes again (its answer was lost) is not served again: its answer is
//! sent again, so that an inference, which consumes its input, never runs twice on one. Nothing here allocates or
//! panics; what cannot be served is answered with a [`DeviceError`].

use releq_shared::blob::{Blob, BlobError, MAX_OPS};
use releq_shared::wire::{
    Counter, Decoder, DeviceError, FRAME_MAX, FrameKind, HelloReply, LOGITS_A_REPLY, LoadedReply, MemoryReply, OpTicks,
    PAYLOAD_MAX, PROTOCOL_VERSION, Request, Response, TICKS_A_REPLY, encode,
};

use crate::engine::{Engine, Observer, required_arena};

/// What the server needs of a board.
pub trait Platform {
    /// Sends bytes to the host, all of them.
    fn write(&mut self, bytes: &[u8]);
    /// Starts the counter from zero: what counting itself costs then falls at the same places in every inference.
    fn restart_ticks(&mut self);
    /// The counter, in ticks that [`BoardFacts::counter`] explains.
    fn ticks(&mut self) -> u64;
    /// How memory is used; the server fills in what it knows itself.
    fn memory(&mut self) -> MemoryReply;
    /// Starts the board again.
    fn reset(&mut self);
}

/// Who the board is.
#[derive(Clone, Copy, Debug)]
pub struct BoardFacts {
    /// Its name, as its folder.
    pub board: &'static str,
    /// Its core.
    pub core: &'static str,
    /// Clock in hertz.
    pub clock_hz: u32,
    /// What its ticks are.
    pub counter: Counter,
}

/// Serves requests on a model slot and an arena.
#[derive(Debug)]
pub struct Server<'a, P> {
    platform: P,
    facts: BoardFacts,
    slot: &'a mut [u8],
    arena: &'a mut [u8],
    decoder: Decoder,
    reply: [u8; FRAME_MAX],
    reply_len: usize,
    session: Session,
    model: Model,
    profile: heapless::Vec<u64, MAX_OPS>,
    inference: Option<u64>,
    input_received: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Session {
    nonce: Option<u32>,
    last: Option<u16>,
}

#[derive(Clone, Copy, Debug)]
enum Model {
    None,
    Arriving { announced: usize, received: usize },
    Ready { len: usize },
}

/// Notes the ticks at the end of each operation.
struct Stopwatch<'a, P> {
    platform: &'a mut P,
    started: u64,
    profile: &'a mut heapless::Vec<u64, MAX_OPS>,
}

impl<P: Platform> Observer for Stopwatch<'_, P> {
    fn before_op(&mut self, _index: usize) {
        self.started = self.platform.ticks();
    }

    fn after_op(&mut self, _index: usize) {
        let ticks = self.platform.ticks().wrapping_sub(self.started);
        // A blob has at most MAX_OPS operations, so there is always room.
        let _ = self.profile.push(ticks);
    }
}

impl<'a, P: Platform> Server<'a, P> {
    /// A server without a model. Slot and arena start at multiples of 16.
    pub fn new(platform: P, facts: BoardFacts, slot: &'a mut [u8], arena: &'a mut [u8]) -> Self {
        Self {
            platform,
            facts,
            slot,
            arena,
            decoder: Decoder::new(),
            reply: [0; FRAME_MAX],
            reply_len: 0,
            session: Session::default(),
            model: Model::None,
            profile: heapless::Vec::new(),
            inference: None,
            input_received: 0,
        }
    }

    /// The board.
    pub fn platform(&mut self) -> &mut P {
        &mut self.platform
    }

    /// Takes one byte from the host, and serves the request that it completes, if it does.
    pub fn receive(&mut self, byte: u8) {
        let mut payload = [0; PAYLOAD_MAX];
        let (sequence, len) = match self.decoder.push(byte) {
            Some(Ok((FrameKind::Message, sequence, data))) => {
                payload[..data.len()].copy_from_slice(data);
                (sequence, data.len())
            }
            // Damaged frames are the sender's to repeat.
            Some(Ok((FrameKind::Log, ..)) | Err(_)) | None => return,
        };
        self.serve(sequence, &payload[..len]);
    }

    fn serve(&mut self, sequence: u16, payload: &[u8]) {
        let request = postcard::from_bytes::<Request<'_>>(payload);
        let new_session = match request {
            Ok(Request::Hello { nonce }) => self.session.nonce != Some(nonce),
            _ => false,
        };
        if let (false, Some(last)) = (new_session, self.session.last) {
            if sequence == last {
                self.platform.write(&self.reply[..self.reply_len]);
                return;
            }
            // Older than what was served already: a straggler.
            if last.wrapping_sub(sequence) < u16::MAX / 2 {
                return;
            }
        }
        self.session.last = Some(sequence);
        match request {
            Ok(Request::Hello { nonce }) => {
                self.session.nonce = Some(nonce);
                let BoardFacts { board, core, clock_hz, counter } = self.facts;
                let hello = HelloReply {
                    nonce,
                    protocol: PROTOCOL_VERSION,
                    version: env!("CARGO_PKG_VERSION"),
                    board,
                    core,
                    clock_hz,
                    counter,
                    model_max: self.slot.len() as u32,
                    arena: self.arena.len() as u32,
                };
                self.answer(sequence, &Response::Hello(hello));
            }
            Ok(Request::Reset) => {
                self.answer(sequence, &Response::Done);
                self.platform.reset();
            }
            Ok(request) => {
                let response = self.respond(&request).unwrap_or_else(Response::Error);
                self.answer(sequence, &response);
            }
            Err(_) => self.answer(sequence, &Response::Error(DeviceError::Malformed)),
        }
    }

    /// Sends an answer and keeps it in case it is asked for again.
    fn answer(&mut self, sequence: u16, response: &Response<'_>) {
        let mut payload = [0; PAYLOAD_MAX];
        // Every response fits a frame; a test holds the longest ones to that.
        let Ok(bytes) = postcard::to_slice(response, &mut payload) else { return };
        self.reply_len = encode(FrameKind::Message, sequence, bytes, &mut self.reply).unwrap_or(0);
        self.platform.write(&self.reply[..self.reply_len]);
    }

    fn respond(&mut self, request: &Request<'_>) -> Result<Response<'static>, DeviceError> {
        match *request {
            Request::Hello { .. } | Request::Reset => Ok(Response::Done),
            Request::LoadBegin { len } => self.load_begin(len),
            Request::LoadChunk { offset, data } => self.load_chunk(offset, data),
            Request::LoadEnd => self.load_end(),
            Request::Input { offset, data } => self.input(offset, data),
            Request::Infer { data } => self.infer(data),
            Request::Logits { first } => self.logits(first),
            Request::Profile { first } => self.ticks(first),
            Request::Memory => self.memory(),
        }
    }

    fn forget_inference(&mut self) {
        self.inference = None;
        self.profile.clear();
        self.input_received = 0;
    }

    fn load_begin(&mut self, len: u32) -> Result<Response<'static>, DeviceError> {
        self.forget_inference();
        self.model = Model::None;
        if len as usize > self.slot.len() {
            return Err(DeviceError::ModelTooLarge { len, available: self.slot.len() as u32 });
        }
        self.model = Model::Arriving { announced: len as usize, received: 0 };
        Ok(Response::Done)
    }

    fn load_chunk(&mut self, offset: u32, data: &[u8]) -> Result<Response<'static>, DeviceError> {
        let Model::Arriving { announced, received } = &mut self.model else { return Err(DeviceError::NoModel) };
        let start = offset as usize;
        let place = start.checked_add(data.len()).filter(|&end| start <= *received && end <= *announced);
        let Some(end) = place else {
            return Err(DeviceError::OutOfRange { offset, len: data.len() as u32, available: *announced as u32 });
        };
        self.slot[start..end].copy_from_slice(data);
        *received = end.max(*received);
        Ok(Response::Done)
    }

    fn load_end(&mut self) -> Result<Response<'static>, DeviceError> {
        let Model::Arriving { announced, received } = self.model else { return Err(DeviceError::NoModel) };
        if received != announced {
            return Err(DeviceError::Incomplete { received: received as u32, announced: announced as u32 });
        }
        self.model = Model::None;
        let blob = Blob::new_checked(&self.slot[..announced]).map_err(DeviceError::Blob)?;
        let needed = required_arena(&blob);
        if needed > self.arena.len() {
            let (needed, available) = (u32::try_from(needed).unwrap_or(u32::MAX), self.arena.len() as u32);
            return Err(DeviceError::Blob(BlobError::ArenaTooSmall { needed, available }));
        }
        let header = blob.header();
        let reply = LoadedReply {
            input: header.input.bytes() as u32,
            logits: header.output.elements() as u32,
            ops: header.op_count,
            arena: needed as u32,
        };
        self.model = Model::Ready { len: announced };
        Ok(Response::Loaded(reply))
    }

    /// The engine of the loaded model.
    fn engine(&mut self) -> Result<Engine<'_>, DeviceError> {
        let Model::Ready { len } = self.model else { return Err(DeviceError::NoModel) };
        let blob = Blob::reopen(&self.slot[..len]).map_err(DeviceError::Blob)?;
        Engine::new(blob, self.arena).map_err(DeviceError::Blob)
    }

    fn input(&mut self, offset: u32, data: &[u8]) -> Result<Response<'static>, DeviceError> {
        let received = self.input_received;
        let mut engine = self.engine()?;
        let input = engine.input_mut();
        let start = offset as usize;
        let available = input.len() as u32;
        // A first piece starts a new input; the others continue it.
        let place =
            start.checked_add(data.len()).filter(|&end| end <= input.len() && (start == 0 || start <= received));
        let Some(end) = place else {
            return Err(DeviceError::OutOfRange { offset, len: data.len() as u32, available });
        };
        input[start..end].copy_from_slice(data);
        self.inference = None;
        self.input_received = if start == 0 { end } else { end.max(received) };
        Ok(Response::Done)
    }

    fn infer(&mut self, data: &[u8]) -> Result<Response<'static>, DeviceError> {
        let Model::Ready { len } = self.model else { return Err(DeviceError::NoModel) };
        let blob = Blob::reopen(&self.slot[..len]).map_err(DeviceError::Blob)?;
        let mut engine = Engine::new(blob, self.arena).map_err(DeviceError::Blob)?;
        let wanted = engine.input_mut().len();
        let given = if data.is_empty() { self.input_received } else { data.len() };
        if given != wanted {
            return Err(DeviceError::InputLength { given: given as u32, wanted: wanted as u32 });
        }
        if !data.is_empty() {
            engine.input_mut().copy_from_slice(data);
        }
        self.input_received = 0;
        self.profile.clear();
        self.platform.restart_ticks();
        let started = self.platform.ticks();
        engine.run(&mut Stopwatch { platform: &mut self.platform, started, profile: &mut self.profile });
        self.inference = Some(self.platform.ticks().wrapping_sub(started));
        self.logits(0)
    }

    fn logits(&mut self, first: u32) -> Result<Response<'static>, DeviceError> {
        let ticks = self.inference.ok_or(DeviceError::NoInference)?;
        let engine = self.engine()?;
        let all = engine.output();
        let rest = all.get(first as usize..).unwrap_or_default();
        let logits = rest.iter().copied().take(LOGITS_A_REPLY).collect();
        Ok(Response::Logits { ticks, total: all.len() as u32, logits })
    }

    fn ticks(&mut self, first: u16) -> Result<Response<'static>, DeviceError> {
        self.inference.ok_or(DeviceError::NoInference)?;
        let rest = self.profile.get(usize::from(first)..).unwrap_or_default();
        let ops = rest.iter().map(|&ticks| OpTicks(ticks)).take(TICKS_A_REPLY).collect();
        Ok(Response::Profile { total: self.profile.len() as u16, ops })
    }

    fn memory(&mut self) -> Result<Response<'static>, DeviceError> {
        let arena_used = self.engine().map_or(0, |engine| required_arena(engine.blob()) as u32);
        let memory = self.platform.memory();
        Ok(Response::Memory(MemoryReply { arena_used, arena_total: self.arena.len() as u32, ..memory }))
    }
}
