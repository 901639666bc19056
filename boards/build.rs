//! Takes the board that `RELEQ_BOARD` names (a folder here, or the path of one elsewhere): its memory map for the linker, its
//! facts for the program; the model that `RELEQ_MODEL` names, if it does, into the image, with an arena of `RELEQ_ARENA_BYTES`;
//! and with `RELEQ_LINE=uart` a real board's UART as its line.

use std::path::{Path, PathBuf};
use std::{env, fs};

use serde::Deserialize;

/// What the firmware needs of a board.toml; the host reads the rest.
#[derive(Deserialize)]
struct Board {
    name: String,
    core: String,
    clock_hz: u32,
    ram_bytes: usize,
    model_bytes: usize,
    arena_bytes: usize,
    stored: Stored,
    kind: Kind,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Emulated(Emulated),
    Real(Real),
}

#[derive(Deserialize)]
struct Emulated {
    ticks: Ticks,
}

#[derive(Deserialize)]
struct Real {
    /// What its chip wants before an image runs: `src/boot_<boot>.rs`, or nothing for "plain".
    #[serde(default = "plain")]
    boot: String,
    uart: Option<Uart>,
}

/// A UART's registers (`src/uart.rs`).
#[derive(Deserialize)]
struct Uart {
    baud: u32,
    #[serde(default)]
    events: bool,
    setup: Vec<Step>,
    receive: Way,
    transmit: Way,
}

#[derive(Deserialize)]
struct Step {
    register: usize,
    /// All of the register, in place of `clear` and `set`.
    value: Option<u32>,
    #[serde(default)]
    clear: u32,
    #[serde(default)]
    set: u32,
    #[serde(default)]
    wait: u32,
}

#[derive(Deserialize)]
struct Way {
    status: usize,
    mask: u32,
    /// What the masked status is while bytes can be moved; by default all of the mask.
    ready: Option<u32>,
    data: usize,
}

impl Uart {
    /// As the program has it.
    fn constant(&self) -> String {
        let step = |step: &Step| {
            let Step { register, value, clear, set, wait } = *step;
            let (keep, set) = value.map_or((!clear, set), |value| (0, value));
            format!("crate::line::Step {{ register: {register}, keep: {keep}, set: {set}, wait: {wait} }}, ")
        };
        let way = |Way { status, mask, ready, data }: &Way| {
            let ready = ready.unwrap_or(*mask);
            format!("crate::line::Way {{ status: {status}, mask: {mask}, ready: {ready}, data: {data} }}")
        };
        format!(
            "pub(crate) const UART: crate::line::Uart = crate::line::Uart {{ setup: &[{}], receive: {}, transmit: {}, \
             events: {}, baud: {} }};\n",
            self.setup.iter().map(step).collect::<String>(),
            way(&self.receive),
            way(&self.transmit),
            self.events,
            self.baud
        )
    }
}

fn plain() -> String {
    "plain".to_owned()
}

/// Where a model lies in flash.
#[derive(Deserialize)]
struct Stored {
    address: usize,
    bytes: usize,
}

#[derive(Deserialize)]
struct Ticks {
    numerator: u32,
    denominator: u32,
}

/// What the kind of board decides about its image.
struct Built<'a> {
    line: &'static str,
    counter: &'static str,
    boot: &'a str,
    ticks: String,
    line_constant: String,
}

impl<'a> Built<'a> {
    fn of(board: &'a Board, by_uart: bool) -> Self {
        match &board.kind {
            Kind::Emulated(Emulated { ticks: Ticks { numerator, denominator } }) => Self {
                line: "semihosting",
                counter: "systick",
                boot: "plain",
                ticks: format!("Counter::Instructions {{ numerator: {numerator}, denominator: {denominator} }}"),
                line_constant: String::new(),
            },
            Kind::Real(Real { boot, uart }) => {
                // Armv6-M and the baseline of Armv8-M have no cycle counter of their own.
                let simple = ["cortex-m0", "cortex-m1", "cortex-m23"].iter().any(|core| board.core.starts_with(core));
                // A ring for each direction: of the longest frame, unless RAM is scarce.
                let line_bytes = if board.ram_bytes < 32 * 1024 { 256 } else { 1536 };
                let (line, line_constant) = match uart {
                    Some(uart) if by_uart => ("uart", uart.constant()),
                    None if by_uart => panic!("board.toml of {} has no [kind.real.uart]", board.name),
                    _ => ("rtt", format!("pub(crate) const LINE_BYTES: usize = {line_bytes};\n")),
                };
                Self {
                    line,
                    counter: if simple { "systick" } else { "cycles" },
                    boot,
                    ticks: "Counter::Cycles".to_owned(),
                    line_constant,
                }
            }
        }
    }
}

fn memory_constants(model: usize, arena: &str) -> String {
    format!("pub(crate) const MODEL_BYTES: usize = {model};\npub(crate) const ARENA_BYTES: usize = {arena};\n")
}

/// RAM from which on a region that the memory protection unit closes is no loss: with its alignment it takes up to 2 KiB.
const RAM_FOR_A_REGION: usize = 16 * 1024;

/// What catches a stack that overflows: see `src/guard.rs`.
fn stack_guard(target: &str, ram_bytes: usize) -> &'static str {
    match target {
        _ if ram_bytes < RAM_FOR_A_REGION => "paint",
        _ if target.starts_with("thumbv8m.main") => "mpu8",
        _ if target.starts_with("thumbv7") => "mpu7",
        _ => "paint",
    }
}

fn main() {
    for variable in ["RELEQ_BOARD", "RELEQ_LINE", "RELEQ_MODEL", "RELEQ_ARENA_BYTES"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    println!("cargo:rustc-check-cfg=cfg(model_inside)");
    println!("cargo:rustc-check-cfg=cfg(board_line, values(\"semihosting\", \"rtt\", \"uart\"))");
    println!("cargo:rustc-check-cfg=cfg(board_counter, values(\"cycles\", \"systick\"))");
    println!("cargo:rustc-check-cfg=cfg(board_boot, values(\"plain\", \"nrf52\", \"rp2040\", \"rp2350\"))");
    println!("cargo:rustc-check-cfg=cfg(stack_guard, values(\"mpu7\", \"mpu8\", \"paint\"))");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let name = env::var("RELEQ_BOARD").unwrap_or_else(|_| panic!("set RELEQ_BOARD to the name of a folder in boards/"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(&name);
    let toml = folder.join("board.toml");
    println!("cargo:rerun-if-changed={}", folder.display());
    let text = fs::read_to_string(&toml).unwrap_or_else(|error| panic!("cannot read {}: {error}", toml.display()));
    let board: Board = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", toml.display()));
    let guard = stack_guard(&env::var("TARGET").unwrap_or_default(), board.ram_bytes);
    println!("cargo:rustc-cfg=stack_guard=\"{guard}\"");
    let how = Built::of(&board, env::var("RELEQ_LINE").as_deref() == Ok("uart"));
    println!("cargo:rustc-cfg=board_line=\"{}\"", how.line);
    println!("cargo:rustc-cfg=board_counter=\"{}\"", how.counter);
    println!("cargo:rustc-cfg=board_boot=\"{}\"", how.boot);
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_else(|| panic!("cargo sets OUT_DIR")));
    let memory = fs::read(folder.join("memory.x")).unwrap_or_else(|error| panic!("memory.x of {name}: {error}"));
    fs::write(out.join("memory.x"), memory).unwrap_or_else(|error| panic!("memory.x: {error}"));
    let mut facts = format!(
        "pub(crate) const FACTS: BoardFacts = BoardFacts {{ board: {:?}, core: {:?}, clock_hz: {}, counter: {} }};\n{}",
        board.name, board.core, board.clock_hz, how.ticks, how.line_constant,
    );
    facts += &match env::var("RELEQ_MODEL") {
        Ok(model) => {
            println!("cargo:rerun-if-changed={model}");
            println!("cargo:rustc-cfg=model_inside");
            let arena = env::var("RELEQ_ARENA_BYTES").unwrap_or_else(|_| panic!("RELEQ_MODEL needs RELEQ_ARENA_BYTES"));
            let len = fs::metadata(&model).unwrap_or_else(|error| panic!("cannot read {model}: {error}")).len();
            memory_constants(0, &arena)
                + &format!("pub(crate) static MODEL_INSIDE: Inside<{len}> = Inside(*include_bytes!({model:?}));\n")
        }
        Err(_) => {
            memory_constants(board.model_bytes, &board.arena_bytes.to_string())
                + &format!(
                    "pub(crate) const STORED_ADDRESS: usize = {};\npub(crate) const STORED_BYTES: usize = {};\n",
                    board.stored.address, board.stored.bytes
                )
        }
    };
    fs::write(out.join("board.rs"), facts).unwrap_or_else(|error| panic!("board.rs: {error}"));
    println!("cargo:rustc-link-search={}", out.display());
    for script in ["link.x", "defmt.x"] {
        println!("cargo:rustc-link-arg=-T{script}");
    }
    println!("cargo:rustc-link-arg=--nmagic");
}
