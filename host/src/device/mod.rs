//! Boards, the tools that build and run their firmware, and the link to it.

pub mod board;
pub mod cargo;
pub mod chip;
pub mod fault;
pub mod firmware;
pub mod flash;
pub mod link;
mod logs;
pub mod lower;
pub mod measure;
pub mod placement;
pub mod probe;
pub mod qemu;
pub mod serial;
pub mod start;
pub mod toolchain;

pub use board::Board;
pub use link::Link;
pub use measure::{DeviceMeasurement, measure};
pub use placement::Placement;

use std::path::PathBuf;
use std::time::Duration;

/// What can go wrong between the host and a board.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// No board of that name.
    #[error("there is no board called {name:?}{hint}; known are {known}")]
    UnknownBoard {
        /// The name asked for.
        name: String,
        /// The nearest name, if one is near.
        hint: String,
        /// All names.
        known: String,
    },
    /// A board on which something was to run in QEMU.
    #[error("{board} is a real board, which QEMU does not emulate; choose one of the qemu-… boards of `releq boards`")]
    NotEmulated {
        /// The board.
        board: String,
    },
    /// A board that is to be made is there already.
    #[error("{} is there already; choose another name, or edit it", path.display())]
    BoardExists {
        /// Its folder.
        path: PathBuf,
    },
    /// No name for a board.
    #[error("{name:?} is no name for a board; use small letters, digits and -")]
    BoardName {
        /// The name.
        name: String,
    },
    /// A chip that probe-rs does not know.
    #[error("probe-rs knows no chip called {chip:?}{hint}")]
    UnknownChip {
        /// The name asked for.
        chip: String,
        /// Names that are near.
        hint: String,
    },
    /// A chip for which no image can be built.
    #[error("no image can be built for {chip}: {reason}")]
    UnfitChip {
        /// The chip.
        chip: String,
        /// What is in the way.
        reason: &'static str,
    },
    /// A chip with too little memory.
    #[error("an image for any model needs {needed} bytes of {what}, {chip} has {available}")]
    ChipTooSmall {
        /// The chip.
        chip: String,
        /// Flash or RAM.
        what: &'static str,
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that there are.
        available: u64,
    },
    /// No core of that name.
    #[error("there is no core called {core:?}{hint}; known are {known}")]
    UnknownCore {
        /// The name asked for.
        core: String,
        /// The nearest name, if one is near.
        hint: String,
        /// All names.
        known: String,
    },
    /// What needs probe-rs, in a program without it.
    #[error(
        "this releq was built without debug probes (--no-default-features); from its source folder, `cargo install --path \
         host` builds one with them"
    )]
    NoProbeFeature,
    /// A board.toml is wrong.
    #[error("{}: {reason}", path.display())]
    BoardFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The source tree has moved.
    #[error(
        "the sources of the firmware are not where this program was built; set RELEQ_HOME to the releq source folder"
    )]
    NoSources,
    /// A tool is missing and could not be installed.
    #[error("{what} is missing and could not be installed; run `{command}` and try again")]
    MissingTool {
        /// What is missing.
        what: String,
        /// What installs it.
        command: String,
    },
    /// The firmware does not build.
    #[error("the firmware of {board} does not build:\n{output}")]
    Build {
        /// The board.
        board: String,
        /// The last lines of the compiler.
        output: String,
    },
    /// The system refused a file or a process.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or program.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The model does not fit the board.
    #[error("the model needs {needed} bytes of {what} on {board}, there are {available}{advice}")]
    DoesNotFit {
        /// The board.
        board: String,
        /// Of what there is too little.
        what: &'static str,
        /// Bytes that the model needs.
        needed: u64,
        /// Bytes that there are.
        available: u64,
        /// What to do about it, if that is known.
        advice: String,
    },
    /// A debug probe or the chip behind it.
    #[error(transparent)]
    Probe(#[from] probe::ProbeError),
    /// A board that is to be flashed or reached by a port, and is none that can be.
    #[error(
        "{board} is emulated: it has neither a debug probe nor a serial port; `releq measure --board {board}` boots it with \
         the model"
    )]
    NotReal {
        /// The board.
        board: String,
    },
    /// A serial port that cannot be used.
    #[error("cannot use the serial port {path}: {reason}")]
    Port {
        /// Its name.
        path: String,
        /// What is in the way.
        reason: String,
    },
    /// Another board than the one that was named.
    #[error(
        "the board at the other end is {found}, not {wanted}; name it with --board {found}, or choose another --port"
    )]
    OtherBoard {
        /// Its name, as it says itself.
        found: String,
        /// The board that was named.
        wanted: String,
    },
    /// A board without a UART that is known.
    #[error(
        "board.toml of {board} does not describe a UART; add [kind.real.uart] as in boards/nucleo-f446re/board.toml \
         (docs/boards.md)"
    )]
    NoUart {
        /// The board.
        board: String,
    },
    /// The model in a board's flash is another.
    #[error(
        "the board has another model in its flash, with checksum {found:08x}, not {wanted:08x}; flash this one first"
    )]
    OtherModel {
        /// The board's checksum.
        found: u32,
        /// The model's.
        wanted: u32,
    },
    /// No answer came.
    #[error(
        "the board does not answer ({attempts} attempts of {:.1} s each){detail}; is it running releq's firmware, and is \
         the link the right one? `--verbose` shows the board's log",
        timeout.as_secs_f64()
    )]
    NoAnswer {
        /// How often it was asked.
        attempts: u32,
        /// How long each time.
        timeout: Duration,
        /// What the emulator or the board said last.
        detail: String,
    },
    /// The link is gone.
    #[error(
        "the link to the board is gone: {0}; see that the board has power and is connected, and start the command again: it \
         boots the board anew"
    )]
    LinkLost(String),
    /// It has lost its model in the middle of the work.
    #[error(
        "the board has started again in the middle of the work{reason}; start the command again, and if that happens each time, \
         look at its supply, or report what it said"
    )]
    Restarted {
        /// What it said before.
        reason: String,
    },
    /// The board refuses the request.
    #[error(transparent)]
    Refused(#[from] releq_shared::wire::DeviceError),
    /// The board answers something else than it was asked.
    #[error("the board's answer does not fit the question; flash firmware of this version")]
    Confused,
    /// The board speaks another protocol.
    #[error("the board speaks protocol {found}, this program {wanted}; flash firmware of this version")]
    Protocol {
        /// The board's.
        found: u16,
        /// Ours.
        wanted: u16,
    },
    /// Ctrl-C.
    #[error("stopped")]
    Stopped,
    /// The model is not sound.
    #[error("the model is not sound: {0}")]
    Blob(#[from] releq_shared::blob::BlobError),
    /// The model and the images do not fit.
    #[error("the model takes inputs of {wanted} bytes, the data set's images have {found}")]
    OtherImages {
        /// The model's.
        wanted: u64,
        /// The data set's.
        found: u64,
    },
}
