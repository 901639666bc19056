//! The server: answers the host's requests over any stream of bytes. `docs/wire-protocol.md` is its contract.
//!
//! One request is served at a time. A request that comes again (its answer was lost) is not served again: its answer is
//! sent again, so that an inference, which consumes its input, never runs twice on one. Nothing here allocates or
//! panics; what cannot be served is answered with a [`DeviceError`].

use releq_shared::blob::{Blob, BlobError, MAX_OPS, PREFIX_LEN, stated_len};
use releq_shared::wire::{
    Counter, Decoder, DeviceError, FRAME_MAX, FrameKind, HelloReply, LOGITS_A_REPLY, LoadedReply, MemoryReply, OpTicks,
    PROTOCOL_VERSION, Provocation, Request, Response, TICKS_A_REPLY, encode_message,
};

use crate::engine::{Engine, Observer, required_arena};
use crate::needs;

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
    /// Fails as asked, in an image that was built for that; false in all others.
    fn provoke(&mut self, what: Provocation) -> bool {
        let _ = what;
        false
    }
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

/// The memory that a server works with. Each block starts at a multiple of 16.
#[derive(Debug)]
pub struct ServerMemory<'a> {
    /// Where a model that comes over the link is put; may be empty.
    pub slot: &'a mut [u8],
    /// Flash in which a model may lie; may be empty.
    pub stored: &'a [u8],
    /// Activations and scratch.
    pub arena: &'a mut [u8],
}

/// Serves requests: takes the host's bytes apart into frames.
#[derive(Debug)]
pub struct Server<'a, P> {
    decoder: Decoder,
    exchange: Exchange<'a, P>,
}

/// The other half of a server, which answers requests. It is apart from the decoder so that a request can stay where it
/// arrived while it is served.
#[derive(Debug)]
struct Exchange<'a, P> {
    platform: P,
    facts: BoardFacts,
    memory: ServerMemory<'a>,
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
    Loaded { len: usize },
    Stored { len: usize },
}

impl ServerMemory<'_> {
    /// The accepted model and an engine of it.
    fn engine(&mut self, model: Model) -> Result<Engine<'_>, DeviceError> {
        let bytes = match model {
            Model::None | Model::Arriving { .. } => return Err(DeviceError::NoModel),
            Model::Loaded { len } => &self.slot[..len],
            Model::Stored { len } => &self.stored[..len],
        };
        let blob = Blob::reopen(bytes).map_err(DeviceError::Blob)?;
        Engine::new(blob, self.arena).map_err(DeviceError::Blob)
    }
}

/// Checks a model from end to end, and that it fits an arena. Where it is part of the image, the host has checked it when it
/// built that, and its checksum is enough.
fn accept(model: &[u8], arena: usize) -> Result<LoadedReply, BlobError> {
    let blob = if needs::ONE_MODEL { Blob::new_unchanged(model)? } else { Blob::new_checked(model)? };
    let needed = required_arena(&blob);
    if needed > arena {
        let (needed, available) = (u32::try_from(needed).unwrap_or(u32::MAX), arena as u32);
        return Err(BlobError::ArenaTooSmall { needed, available });
    }
    let header = blob.header();
    #[cfg(feature = "defmt")]
    defmt::debug!("a model of {=usize} bytes accepted, {=usize} of working memory", model.len(), needed);
    Ok(LoadedReply {
        input: header.input.bytes() as u32,
        logits: header.output.elements() as u32,
        ops: header.op_count,
        arena: needed as u32,
        checksum: blob.checksum(),
    })
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
    /// A server without a model.
    pub fn new(platform: P, facts: BoardFacts, memory: ServerMemory<'a>) -> Self {
        let exchange = Exchange {
            platform,
            facts,
            memory,
            reply: [0; FRAME_MAX],
            reply_len: 0,
            session: Session::default(),
            model: Model::None,
            profile: heapless::Vec::new(),
            inference: None,
            input_received: 0,
        };
        Self { decoder: Decoder::new(), exchange }
    }

    /// The board.
    pub fn platform(&mut self) -> &mut P {
        &mut self.exchange.platform
    }

    /// Is as it was after power-up: without a session and without a model.
    pub fn start_again(&mut self) {
        self.decoder = Decoder::new();
        self.exchange.session = Session::default();
        self.exchange.model = Model::None;
        self.exchange.forget_inference();
    }

    /// Takes one byte from the host, and serves the request that it completes, if it does.
    pub fn receive(&mut self, byte: u8) {
        // Damaged frames are the sender's to repeat.
        if let Some(Ok((FrameKind::Message, sequence, payload))) = self.decoder.push(byte) {
            self.exchange.serve(sequence, payload);
        }
    }
}

impl<P: Platform> Exchange<'_, P> {
    fn serve(&mut self, sequence: u16, payload: &[u8]) {
        let request = postcard::from_bytes::<Request<'_>>(payload);
        let new_session = matches!(request, Ok(Request::Hello { nonce }) if self.session.nonce != Some(nonce));
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
                    model_max: self.memory.slot.len() as u32,
                    arena: self.memory.arena.len() as u32,
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
        // Every response fits a frame; a test holds the longest ones to that.
        self.reply_len = encode_message(sequence, response, &mut self.reply).unwrap_or(0);
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
            Request::UseStored => self.use_stored(),
            Request::Provoke { what } if self.platform.provoke(what) => Ok(Response::Done),
            Request::Provoke { .. } => Err(DeviceError::NotInThisImage),
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
        if len as usize > self.memory.slot.len() {
            return Err(DeviceError::ModelTooLarge { len, available: self.memory.slot.len() as u32 });
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
        self.memory.slot[start..end].copy_from_slice(data);
        *received = end.max(*received);
        Ok(Response::Done)
    }

    fn load_end(&mut self) -> Result<Response<'static>, DeviceError> {
        let Model::Arriving { announced, received } = self.model else { return Err(DeviceError::NoModel) };
        if received != announced {
            return Err(DeviceError::Incomplete { received: received as u32, announced: announced as u32 });
        }
        self.model = Model::None;
        let reply = accept(&self.memory.slot[..announced], self.memory.arena.len()).map_err(DeviceError::Blob)?;
        self.model = Model::Loaded { len: announced };
        Ok(Response::Loaded(reply))
    }

    fn use_stored(&mut self) -> Result<Response<'static>, DeviceError> {
        self.forget_inference();
        self.model = Model::None;
        let stored = self.memory.stored;
        // A length that makes no sense is found out by the checks.
        let len = stated_len(stored).filter(|len| (PREFIX_LEN..=stored.len()).contains(len)).unwrap_or(stored.len());
        let reply = accept(&stored[..len], self.memory.arena.len()).map_err(|error| match error {
            BlobError::ArenaTooSmall { .. } => DeviceError::Blob(error),
            _ => DeviceError::Stored(error),
        })?;
        self.model = Model::Stored { len };
        Ok(Response::Loaded(reply))
    }

    fn input(&mut self, offset: u32, data: &[u8]) -> Result<Response<'static>, DeviceError> {
        let received = self.input_received;
        let mut engine = self.memory.engine(self.model)?;
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
        let mut engine = self.memory.engine(self.model)?;
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
        let ticks = self.platform.ticks().wrapping_sub(started);
        #[cfg(feature = "defmt")]
        defmt::trace!("an inference of {=u64} ticks", ticks);
        self.inference = Some(ticks);
        self.logits(0)
    }

    fn logits(&mut self, first: u32) -> Result<Response<'static>, DeviceError> {
        let ticks = self.inference.ok_or(DeviceError::NoInference)?;
        let engine = self.memory.engine(self.model)?;
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
        let arena_used = self.memory.engine(self.model).map_or(0, |engine| required_arena(engine.blob()) as u32);
        let memory = self.platform.memory();
        Ok(Response::Memory(MemoryReply { arena_used, arena_total: self.memory.arena.len() as u32, ..memory }))
    }
}
