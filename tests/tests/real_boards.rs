//! Real boards, of which none is here: their images build, and each byte of them lies where the board has memory.
#![allow(clippy::unwrap_used, missing_docs)]

use std::ops::Range;

use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol};
use releq::device::firmware::{self, Firmware, ImageLine, ImageOptions};
use releq::device::{Board, board};
use releq::progress::Progress;

/// What the server and an inference need of the stack at least: 6,600 bytes on a Cortex-M0 (`tests/tests/rtt.rs` prints it).
const STACK: u64 = 6800;

/// The memory regions that a memory.x names, by name.
fn regions(board: &Board) -> Vec<(String, Range<u64>)> {
    let text = std::fs::read_to_string(board.folder.join("memory.x")).unwrap();
    let lines = text.lines().filter(|line| line.contains("ORIGIN ="));
    let region = |line: &str| {
        let (name, rest) = line.split_once(':').unwrap();
        let (origin, length) = rest.split_once(',').unwrap();
        let value = |text: &str| {
            let text = text.split_once('=').unwrap().1.trim();
            text.split('-').map(|part| number(part.trim())).reduce(|a, b| a - b).unwrap()
        };
        let start = value(origin);
        (name.trim().to_owned(), start..start + value(length))
    };
    lines.map(region).collect()
}

fn number(text: &str) -> u64 {
    match (text.strip_prefix("0x"), text.strip_suffix('K')) {
        (Some(hexadecimal), _) => u64::from_str_radix(hexadecimal, 16).unwrap(),
        (_, Some(kibibytes)) => kibibytes.parse::<u64>().unwrap() * 1024,
        _ => text.parse().unwrap(),
    }
}

fn region(board: &Board, name: &str) -> Range<u64> {
    regions(board).into_iter().find(|region| region.0 == name).unwrap().1
}

/// Builds a board's images and looks where their parts lie.
fn fits(board: &Board) {
    let by_uart = board.chip().unwrap().uart.is_some().then_some(ImageLine::Uart);
    for line in std::iter::once(ImageLine::Usual).chain(by_uart) {
        let options = ImageOptions { line, ..ImageOptions::default() };
        let image = firmware::build_with(board, options, Progress::silent()).unwrap_or_else(|error| panic!("{error}"));
        lies_in_memory(board, &image);
        let elf = object::File::parse(&*image.bytes).unwrap();
        let channel = elf.symbol_by_name("_SEGGER_RTT").map(|symbol| symbol.address());
        assert_eq!(channel.is_some(), line == ImageLine::Usual, "{}: a channel for the probe", board.name);
        assert!(channel.is_none_or(|at| region(board, "RAM").contains(&at)), "{}: it is at {channel:#x?}", board.name);
    }
}

/// Looks where the parts of an image lie.
fn lies_in_memory(board: &Board, image: &Firmware) {
    let elf = object::File::parse(&*image.bytes).unwrap();
    let memory = regions(board);
    let within =
        |range: &Range<u64>| memory.iter().any(|(_, region)| region.start <= range.start && range.end <= region.end);
    for segment in elf.segments() {
        let range = segment.address()..segment.address() + segment.size();
        assert!(within(&range), "{}: {range:#x?} lies in none of {memory:#x?}", board.name);
    }
    let (flash, ram) = (region(board, "FLASH"), region(board, "RAM"));
    assert_eq!(ram.end - ram.start, board.ram_bytes, "{}: RAM of memory.x and board.toml", board.name);
    let stored = board.stored.address..board.stored.address + board.stored.bytes;
    assert!(flash.end <= stored.start, "{}: the model's slot {stored:#x?} in the image's {flash:#x?}", board.name);
    let whole = stored.end - flash.start.min(stored.start);
    assert!(whole <= board.flash_bytes, "{}: {whole} bytes of {}", board.name, board.flash_bytes);
    let statics = elf.section_by_name(".bss").unwrap();
    let stack = ram.end - (statics.address() + statics.size());
    println!("{:<20} {:>6} bytes of flash, {stack:>6} of stack", board.name, image.flash.total());
    assert!(stack >= STACK, "{}: {stack} bytes for the stack", board.name);
}

/// Images of one target share a place: one test builds them all, target after target.
#[test]
fn every_real_boards_image_builds_and_fits_its_memory() {
    let mut boards: Vec<Board> = board::all().unwrap().into_iter().filter(|board| board.emulated().is_err()).collect();
    assert!(boards.len() >= 10, "only {} real boards", boards.len());
    boards.sort_by(|a, b| (&a.target, &a.name).cmp(&(&b.target, &b.name)));
    boards.iter().for_each(fits);
}

#[test]
fn what_a_boot_rom_looks_for_lies_where_it_looks() {
    let board = board::by_name("rpi-pico").unwrap();
    let image = firmware::build(&board, Progress::silent()).unwrap_or_else(|error| panic!("{error}"));
    let elf = object::File::parse(&*image.bytes).unwrap();
    let second_stage = elf.section_by_name(".boot2").unwrap();
    assert_eq!((second_stage.address(), second_stage.size()), (0x1000_0000, 256));
    // The boot ROM checks the last four bytes against a CRC-32 (no reflection, no final complement) of the others.
    let bytes = second_stage.data().unwrap();
    let mut crc = u32::MAX;
    for &byte in &bytes[..252] {
        crc ^= u32::from(byte) << 24;
        for _ in 0..8 {
            crc = if crc >> 31 == 1 { crc << 1 ^ 0x04C1_1DB7 } else { crc << 1 };
        }
    }
    assert_eq!(bytes[252..], crc.to_le_bytes());

    let board = board::by_name("rpi-pico2").unwrap();
    let image = firmware::build(&board, Progress::silent()).unwrap_or_else(|error| panic!("{error}"));
    let elf = object::File::parse(&*image.bytes).unwrap();
    let block = elf.section_by_name(".start_block").unwrap();
    assert!(block.address() + block.size() <= 0x1000_1000, "within the first 4 KiB: {:#x}", block.address());
    assert_eq!(block.data().unwrap()[..4], 0xFFFF_DED3_u32.to_le_bytes());
    assert_eq!(elf.section_by_name(".vector_table").unwrap().address(), 0x1000_0000);

    let board = board::by_name("nrf52840-dk").unwrap();
    let image = firmware::build(&board, Progress::silent()).unwrap_or_else(|error| panic!("{error}"));
    let elf = object::File::parse(&*image.bytes).unwrap();
    let allowed = elf.section_by_name(".uicr_approtect").unwrap();
    assert_eq!((allowed.address(), allowed.data().unwrap()), (0x1000_1208, &[0x5A, 0, 0, 0][..]));
}
