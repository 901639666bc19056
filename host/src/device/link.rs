//! The link to a board: asks, waits, asks again, and never takes a wrong answer for a right one.
//!
//! Every request has a sequence number, which its answer repeats. An answer that does not come in time is asked for
//! again under the same number; the device then repeats its answer rather than its work. Frames that are damaged, or
//! answers to earlier requests, are dropped and counted.

use std::ops::{ControlFlow, DerefMut};
use std::time::{Duration, Instant};

use releq_shared::wire::{
    Decoder, FRAME_MAX, FrameKind, HelloReply, LoadedReply, MemoryReply, PAYLOAD_MAX, PROTOCOL_VERSION, Provocation,
    Request, Response, encode,
};

use super::DeviceError;
use super::logs::LogDecoder;

/// A stream of bytes to a board.
pub trait Transport {
    /// Sends bytes.
    ///
    /// # Errors
    /// [`DeviceError::LinkLost`] if nobody is there any more.
    fn send(&mut self, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Waits for bytes, for so long at most; none if none came.
    ///
    /// # Errors
    /// [`DeviceError::LinkLost`] if nobody is there any more.
    fn receive(&mut self, timeout: Duration) -> Result<Vec<u8>, DeviceError>;

    /// What the other side complained about last, to be put behind an error; may be empty.
    fn detail(&self) -> String {
        String::new()
    }
}

/// Whatever leads to a line is one: a box, or a borrowed board that outlives its host, where a link ends and the next one finds
/// the board as it was.
impl<P> Transport for P
where
    P: DerefMut,
    P::Target: Transport,
{
    fn send(&mut self, bytes: &[u8]) -> Result<(), DeviceError> {
        (**self).send(bytes)
    }

    fn receive(&mut self, timeout: Duration) -> Result<Vec<u8>, DeviceError> {
        (**self).receive(timeout)
    }

    fn detail(&self) -> String {
        (**self).detail()
    }
}

/// How patient a link is.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How long to wait for one answer.
    pub timeout: Duration,
    /// How often to ask.
    pub attempts: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(3), attempts: 5 }
    }
}

/// What went wrong on the way and was put right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LinkStatistics {
    /// Requests.
    pub requests: u64,
    /// Requests sent again.
    pub repeats: u64,
    /// Frames dropped because they were damaged.
    pub damaged: u64,
    /// Answers dropped because they came late or twice.
    pub stale: u64,
}

/// Who a board is, as it said itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardHello {
    /// Its name.
    pub board: String,
    /// Version of its firmware.
    pub version: String,
    /// Its core.
    pub core: String,
    /// Clock in hertz.
    pub clock_hz: u32,
    /// What its ticks are.
    pub counter: releq_shared::wire::Counter,
    /// Bytes that a model may have.
    pub model_max: u32,
    /// Bytes for activations and scratch.
    pub arena: u32,
}

/// A link to a board.
pub struct Link<T> {
    transport: T,
    decoder: Box<Decoder>,
    /// Bytes received and not looked at yet.
    waiting: std::collections::VecDeque<u8>,
    sequence: u16,
    /// Whether the board has accepted a model in this session.
    has_model: bool,
    patience: Patience,
    logs: Option<LogDecoder>,
    on_log: Box<dyn FnMut(&str)>,
    last_error_log: String,
    /// What went wrong on the way and was put right.
    pub statistics: LinkStatistics,
}

impl<T: Transport> Link<T> {
    /// A link that drops the board's log.
    pub fn new(transport: T, patience: Patience) -> Self {
        Self {
            transport,
            decoder: Box::new(Decoder::new()),
            waiting: std::collections::VecDeque::new(),
            // Answers to a host that was here before are told from ours by their numbers.
            sequence: moment() as u16,
            has_model: false,
            patience,
            logs: None,
            on_log: Box::new(|_| ()),
            last_error_log: String::new(),
            statistics: LinkStatistics::default(),
        }
    }

    /// The stream, for the time after the link.
    pub fn into_transport(self) -> T {
        self.transport
    }

    /// Gives each line of the board's log, decoded with the firmware's ELF file, to `on_log`.
    #[must_use]
    pub fn with_logs(mut self, elf: &[u8], on_log: impl FnMut(&str) + 'static) -> Self {
        self.logs = Some(LogDecoder::new(elf));
        self.on_log = Box::new(on_log);
        self
    }

    /// What carries the bytes: to disturb it, or to ask it how it is.
    pub const fn transport_mut(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Asks, and gives the answer to `read`.
    fn ask<R>(
        &mut self,
        request: &Request<'_>,
        read: impl FnOnce(Response<'_>) -> Option<R>,
    ) -> Result<R, DeviceError> {
        let mut payload = [0; PAYLOAD_MAX];
        let bytes = postcard::to_slice(request, &mut payload).map_err(|_| DeviceError::Confused)?;
        self.sequence = self.sequence.wrapping_add(1);
        // A zero first: whatever the line left in the device's decoder ends here.
        let mut frame = [0; 1 + FRAME_MAX];
        let len = 1 + encode(FrameKind::Message, self.sequence, bytes, &mut frame[1..]).ok_or(DeviceError::Confused)?;
        self.statistics.requests += 1;
        for attempt in 0..self.patience.attempts {
            if crate::interrupt::requested() {
                return Err(DeviceError::Stopped);
            }
            self.statistics.repeats += u64::from(attempt > 0);
            self.transport.send(&frame[..len])?;
            if let Some(answer) = self.wait()? {
                return match postcard::from_bytes(&answer).map_err(|_| DeviceError::Confused)? {
                    // It had one: nothing but a start takes that away.
                    Response::Error(releq_shared::wire::DeviceError::NoModel) if self.has_model => {
                        self.has_model = false;
                        Err(DeviceError::Restarted { reason: self.complaint() })
                    }
                    Response::Error(error) => Err(DeviceError::Refused(error)),
                    response => read(response).ok_or(DeviceError::Confused),
                };
            }
        }
        let said = self.complaint();
        let Patience { attempts, timeout } = self.patience;
        Err(DeviceError::NoAnswer { attempts, timeout, detail: said })
    }

    /// What the board or the transport complained about, as the end of an error's first part.
    fn complaint(&self) -> String {
        match self.last_error_log.as_str() {
            "" => self.transport.detail(),
            said => format!(" (it said: {said})"),
        }
    }

    /// Waits for the answer of the present sequence number; not any longer once the board has said that something is wrong, for
    /// then it starts again.
    fn wait(&mut self) -> Result<Option<Vec<u8>>, DeviceError> {
        let mut deadline = Instant::now() + self.patience.timeout;
        loop {
            while let Some(byte) = self.waiting.pop_front() {
                match self.decoder.push(byte) {
                    None => {}
                    Some(Err(_)) => self.statistics.damaged += 1,
                    Some(Ok((FrameKind::Log, _, frame))) => {
                        if let Some(logs) = &self.logs {
                            let line = logs.decode(frame);
                            (self.on_log)(&line);
                            if let Some(error) = line.strip_prefix("error") {
                                let before = std::mem::take(&mut self.last_error_log);
                                let and = if before.is_empty() { "" } else { "; " };
                                self.last_error_log = format!("{before}{and}{}", error.trim());
                                // The rest of its report follows at once.
                                deadline = deadline.min(Instant::now() + Duration::from_millis(300));
                            }
                        }
                    }
                    Some(Ok((FrameKind::Message, sequence, answer))) if sequence == self.sequence => {
                        return Ok(Some(answer.to_vec()));
                    }
                    Some(Ok((FrameKind::Message, ..))) => self.statistics.stale += 1,
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let bytes = self.transport.receive(left)?;
            self.waiting.extend(bytes);
        }
    }

    /// Starts a session.
    ///
    /// # Errors
    /// [`DeviceError`]; [`DeviceError::Protocol`] if the board's firmware is of another time.
    pub fn hello(&mut self) -> Result<BoardHello, DeviceError> {
        // Another number for each session, so that the board knows a new one from an old request that comes late.
        let nonce = moment();
        self.has_model = false;
        self.last_error_log.clear();
        let (protocol, hello) = self.ask(&Request::Hello { nonce }, |response| match response {
            Response::Hello(reply) if reply.nonce == nonce => Some((reply.protocol, own(&reply))),
            _ => None,
        })?;
        if protocol != PROTOCOL_VERSION {
            return Err(DeviceError::Protocol { found: protocol, wanted: PROTOCOL_VERSION });
        }
        Ok(hello)
    }

    fn done(&mut self, request: &Request<'_>) -> Result<(), DeviceError> {
        self.ask(request, |response| matches!(response, Response::Done).then_some(()))
    }

    /// Loads a model, and tells `progress` the bytes that have arrived; it may stop the loading.
    ///
    /// # Errors
    /// [`DeviceError::Refused`] if the board does not accept it, [`DeviceError::Stopped`] if `progress` says so.
    pub fn load(
        &mut self,
        model: &[u8],
        progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<LoadedReply, DeviceError> {
        self.has_model = false;
        self.done(&Request::LoadBegin { len: model.len() as u32 })?;
        for (index, data) in model.chunks(DATA_MAX).enumerate() {
            let offset = index * DATA_MAX;
            self.done(&Request::LoadChunk { offset: offset as u32, data })?;
            if progress(offset + data.len()).is_break() {
                return Err(DeviceError::Stopped);
            }
        }
        self.loaded(&Request::LoadEnd)
    }

    /// Has the board use the model that lies in its flash.
    ///
    /// # Errors
    /// [`DeviceError::Refused`] if there is none, or none that it accepts.
    pub fn use_stored(&mut self) -> Result<LoadedReply, DeviceError> {
        self.loaded(&Request::UseStored)
    }

    fn loaded(&mut self, request: &Request<'_>) -> Result<LoadedReply, DeviceError> {
        let loaded = self.ask(request, |response| match response {
            Response::Loaded(loaded) => Some(loaded),
            _ => None,
        });
        self.has_model = loaded.is_ok();
        loaded
    }

    /// Runs the loaded model on one input and returns its logits and the ticks that it took.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn infer(&mut self, input: &[u8]) -> Result<(Vec<i32>, u64), DeviceError> {
        let data = if input.len() <= DATA_MAX {
            input
        } else {
            for (index, data) in input.chunks(DATA_MAX).enumerate() {
                self.done(&Request::Input { offset: (index * DATA_MAX) as u32, data })?;
            }
            &[]
        };
        let (mut logits, ticks, total) = self.logits(&Request::Infer { data })?;
        while logits.len() < total as usize {
            let (more, ..) = self.logits(&Request::Logits { first: logits.len() as u32 })?;
            if more.is_empty() {
                return Err(DeviceError::Confused);
            }
            logits.extend(more);
        }
        Ok((logits, ticks))
    }

    fn logits(&mut self, request: &Request<'_>) -> Result<(Vec<i32>, u64, u32), DeviceError> {
        self.ask(request, |response| match response {
            Response::Logits { ticks, total, logits } => Some((logits.to_vec(), ticks, total)),
            _ => None,
        })
    }

    /// Ticks of each operation of the last inference.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn profile(&mut self) -> Result<Vec<u64>, DeviceError> {
        let mut all = Vec::new();
        loop {
            let request = Request::Profile { first: all.len() as u16 };
            let (ops, total) = self.ask(&request, |response| match response {
                Response::Profile { total, ops } => Some((ops, total)),
                _ => None,
            })?;
            all.extend(ops.iter().map(|op| op.0));
            if all.len() >= usize::from(total) || ops.is_empty() {
                return Ok(all);
            }
        }
    }

    /// How the board's memory is used.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn memory(&mut self) -> Result<MemoryReply, DeviceError> {
        self.ask(&Request::Memory, |response| match response {
            Response::Memory(memory) => Some(memory),
            _ => None,
        })
    }

    /// Starts the board again.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn reset(&mut self) -> Result<(), DeviceError> {
        self.has_model = false;
        self.done(&Request::Reset)
    }

    /// Has the board fail, if its image was built for that.
    ///
    /// # Errors
    /// [`DeviceError`]: what there is to be seen of the failure.
    pub fn provoke(&mut self, what: Provocation) -> Result<(), DeviceError> {
        self.done(&Request::Provoke { what })
    }
}

/// A number that differs from one moment to the next.
fn moment() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(1, |since| since.subsec_nanos() ^ since.as_secs() as u32)
}

/// Data of one request: a frame's payload less what postcard needs around it.
const DATA_MAX: usize = PAYLOAD_MAX - 16;

fn own(reply: &HelloReply<'_>) -> BoardHello {
    let HelloReply { board, version, core, clock_hz, counter, model_max, arena, .. } = *reply;
    let (board, version, core) = (board.to_owned(), version.to_owned(), core.to_owned());
    BoardHello { board, version, core, clock_hz, counter, model_max, arena }
}
