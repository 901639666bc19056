//! Real boards' images with a UART for a link, on chips whose UARTs QEMU emulates, each on a pseudo-terminal, which this machine
//! opens as it opens any serial port.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use releq::data::{self, Images, Location};
use releq::device::firmware::{self, Firmware, ImageLine, ImageOptions, LogLevel};
use releq::device::link::Patience;
use releq::device::serial::{PortChoice, Serial, who};
use releq::device::{Board, DeviceError, Link, Placement, board, measure, toolchain};
use releq::network::Shape;
use releq::progress::Progress;
use releq::stages::{MeasureOptions, StageError, measure_on};
use releq_firmware::testing;
use releq_shared::Bitwidth;
use releq_shared::blob::{AlignedCopy, Blob};

const UART: ImageOptions =
    ImageOptions { line: ImageLine::Uart, log: LogLevel::Info, purpose: firmware::Purpose::Serve };

/// A chip in QEMU with one of its UARTs on a pseudo-terminal. Dropping it takes both away.
struct Chip {
    child: Child,
    port: PortChoice,
    /// QEMU reads it again whenever the chip starts again.
    _stored: tempfile::NamedTempFile,
}

impl Chip {
    /// Starts it with a model in its flash.
    fn start(machine: &str, uart: usize, image: &Firmware, stored: (&Board, &[u8])) -> Self {
        let qemu = toolchain::ensure_qemu(Progress::silent()).unwrap_or_else(|error| panic!("{error}"));
        let mut command = Command::new(qemu);
        command.args(["-machine", machine, "-display", "none", "-monitor", "none"]);
        for _ in 0..uart {
            command.args(["-serial", "null"]);
        }
        command.args(["-serial", "pty", "-kernel"]).arg(&image.elf);
        let (board, model) = stored;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(model).unwrap();
        let address = board.stored.address;
        command.arg("-device").arg(format!("loader,file={},addr={address:#x},force-raw=on", file.path().display()));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut said = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut said).unwrap();
        std::thread::spawn(move || stdout.read_to_end(&mut Vec::new()));
        // "char device redirected to /dev/pts/3 (label serial0)"
        let path = said.split_whitespace().find(|word| word.starts_with("/dev/")).unwrap_or_else(|| panic!("{said}"));
        Self { child, port: PortChoice { path: path.to_owned(), baud: None }, _stored: file }
    }
}

impl Drop for Chip {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(folder: &str) -> Board {
    board::read(&board::source_root().unwrap().join(folder)).unwrap_or_else(|error| panic!("{error}"))
}

fn lenet(board: &Board, seed: u64) -> AlignedCopy {
    AlignedCopy::new(&testing::lenet([Bitwidth::new(1).unwrap(); 4], board.class(), seed))
}

fn digits() -> Images {
    let shape = Shape { channels: 1, height: 28, width: 28 };
    data::load_for("mnist", &Location::Embedded, 1, shape, Progress::silent()).unwrap().test.first(5)
}

/// Runs the model in a chip's flash, and no other.
fn serves(folder: &str, machine: &str, uart: usize) {
    let board = read(folder);
    let name = board.name.as_str();
    let model = lenet(&board, 1);
    let blob = Blob::new_checked(&model).unwrap();
    let image = firmware::build_with(&board, UART, Progress::silent()).unwrap_or_else(|error| panic!("{error}"));
    let chip = Chip::start(machine, uart, &image, (&board, &model));
    assert_eq!(who(&chip.port).unwrap(), name);
    let mut link = Link::new(Serial::open(&chip.port, None).unwrap(), Patience::default());
    link.hello().unwrap();
    let loaded = link.use_stored().unwrap();
    assert_eq!(loaded.checksum, blob.checksum(), "{name}");
    let input: Vec<u8> = (0..loaded.input).map(|at| (at * 7 % 251) as u8).collect();
    assert_eq!(link.infer(&input).unwrap().0, testing::run(&blob, &input), "{name}");
    // What it has to say last comes before it starts again.
    link.reset().unwrap();
    link.hello().unwrap();
    assert!(matches!(link.infer(&input), Err(DeviceError::Refused(_))), "{name}");
    assert_eq!(link.statistics.damaged, 0, "{name}");
    let carry_on = &mut |_| std::ops::ControlFlow::Continue(());
    let error = measure(&mut link, &lenet(&board, 2), Placement::Flash, &digits(), carry_on).unwrap_err();
    assert!(matches!(error, DeviceError::OtherModel { .. }), "{name}: {error}");
}

#[test]
fn uarts_with_flags_with_inverted_flags_and_with_events_serve() {
    serves("boards/stm32f4-discovery", "netduinoplus2", 1);
    serves("tests/data/boards/lm3s6965", "lm3s6965evb", 0);
    serves("tests/data/boards/nrf51822", "microbit", 0);
}

#[test]
fn a_board_on_a_serial_port_is_measured_and_its_absence_told() {
    let board = read("boards/stm32f4-discovery");
    let image = firmware::build_with(&board, UART, Progress::silent()).unwrap_or_else(|error| panic!("{error}"));
    assert!(image.flash_used() > 10_000, "{}", image.flash_used());
    let chip = Chip::start("netduinoplus2", 1, &image, (&board, &[]));
    let digits = digits();
    let options = MeasureOptions { samples: 5, verbose: false, log: LogLevel::Info, supply: None };
    let model = lenet(&board, 1);
    let on_port = |board: Board| board.on_port(chip.port.clone()).unwrap();
    let try_it = |board: &Board| measure_on(board, &model, &digits, options, Progress::silent());
    let (measured, _) = try_it(&on_port(board.clone())).unwrap_or_else(|error| panic!("{error}"));
    assert!((measured.result.agreement - 1.0).abs() < f64::EPSILON);
    assert!(!measured.result.firmware_sections.is_empty(), "it runs the image that was built");

    let error = try_it(&on_port(read("boards/nucleo-f446re"))).unwrap_err();
    let other = matches!(&error, StageError::Device(DeviceError::OtherBoard { found, .. }) if *found == board.name);
    assert!(other, "{error}");
    let port = chip.port.clone();
    drop(chip);
    let error = measure_on(&board.on_port(port).unwrap(), &model, &digits, options, Progress::silent());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("serial port") || error.contains("gone"), "{error}");
}

#[test]
fn a_board_without_a_known_uart_is_told_what_to_add() {
    let error = firmware::build_with(&read("tests/data/boards/stm32f100"), UART, Progress::silent()).unwrap_err();
    assert!(error.to_string().contains("[kind.real.uart]"), "{error}");
}
