//! Which instructions of an image its core lacks.
//!
//! QEMU runs instructions on Cortex-M3 on which the real core faults (SMLAD and the rest of the DSP extension), so no test
//! under QEMU can tell. This looks at every instruction of the image's code instead. Encodings are those of the ARMv7-M
//! Architecture Reference Manual, chapters A5 to A7, and for Cortex-M0 the ARMv6-M one.

use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, SymbolKind, elf};

/// A core that lacks some of Thumb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Core {
    /// Cortex-M0: 16-bit instructions and a handful of longer ones.
    ArmV6m,
    /// Cortex-M3: no DSP extension, no coprocessor.
    ArmV7m,
}

/// An instruction at its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Where it lies.
    pub address: u64,
    /// Its first halfword.
    pub first: u16,
    /// Its second halfword, if it has one.
    pub second: Option<u16>,
}

/// Every instruction of the executable sections, as the mapping symbols `$t` and `$d` part code from data.
///
/// # Panics
/// If the file is no ELF file, a section starts without a mapping symbol, or has Arm code.
#[must_use]
pub fn instructions(image: &[u8]) -> Vec<Instruction> {
    let file = object::File::parse(image).expect("an ELF file");
    let mut found = Vec::new();
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else { panic!("not an ELF file") };
        let data = section.data().expect("the section's bytes");
        if sh_flags.0 & elf::SHF_EXECINSTR.0 == 0 || data.is_empty() {
            continue;
        }
        let in_section = file.symbols().filter(|symbol| symbol.section_index() == Some(section.index()));
        let mut marks: Vec<(u64, char)> = in_section
            .filter_map(|symbol| Some((symbol.address() & !1, symbol.name().ok()?.strip_prefix('$')?.chars().next()?)))
            .collect();
        marks.sort_unstable();
        let name = section.name().unwrap_or_default();
        assert_eq!(marks.first().map(|mark| mark.0), Some(section.address()), "{name} starts without a mapping symbol");
        assert!(marks.iter().all(|mark| mark.1 != 'a'), "{name} has Arm code");
        let end = section.address() + data.len() as u64;
        let ends = marks.iter().skip(1).map(|mark| mark.0).chain([end]);
        for (&(start, kind), end) in marks.iter().zip(ends) {
            if kind == 't' {
                let place = |address: u64| (address - section.address()) as usize;
                decode(start, &data[place(start)..place(end)], &mut found);
            }
        }
    }
    found
}

/// Cuts code into instructions.
fn decode(start: u64, code: &[u8], found: &mut Vec<Instruction>) {
    let mut halfwords = code.as_chunks::<2>().0.iter().map(|&bytes| u16::from_le_bytes(bytes)).enumerate();
    while let Some((index, first)) = halfwords.next() {
        // 11101, 11110 and 11111 at the top announce a second halfword.
        let second = if first >> 11 > 0b11100 { halfwords.next().map(|(_, second)| second) } else { None };
        found.push(Instruction { address: start + index as u64 * 2, first, second });
    }
}

/// The function around an address, for a message.
#[must_use]
pub fn function_at(image: &[u8], address: u64) -> String {
    let Ok(file) = object::File::parse(image) else { return String::new() };
    let functions =
        file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.address() & !1 <= address);
    let nearest = functions.max_by_key(|symbol| symbol.address());
    nearest.and_then(|symbol| symbol.name().ok().map(str::to_owned)).unwrap_or_default()
}

impl Instruction {
    /// Why `core` cannot run this, if it cannot.
    #[must_use]
    pub fn lacking_on(&self, core: Core) -> Option<&'static str> {
        match (core, self.second) {
            (Core::ArmV6m, None) => short_beyond_v6m(self.first),
            (Core::ArmV6m, Some(second)) => (!is_long_v6m(self.first, second)).then_some("a 32-bit instruction"),
            (Core::ArmV7m, None) => None,
            (Core::ArmV7m, Some(second)) => beyond_v7m(self.first, second),
        }
    }
}

/// 16-bit instructions that ARMv6-M lacks.
fn short_beyond_v6m(first: u16) -> Option<&'static str> {
    match first {
        _ if first & 0xF500 == 0xB100 => Some("CBZ or CBNZ"),
        _ if first & 0xFF00 == 0xBF00 && first & 0xF != 0 => Some("IT"),
        _ => None,
    }
}

/// The 32-bit instructions of ARMv6-M: BL, MSR, MRS, the barriers, UDF.
fn is_long_v6m(first: u16, second: u16) -> bool {
    let branch_with_link = first & 0xF800 == 0xF000 && second & 0xD000 == 0xD000;
    let to_special = first & 0xFFF0 == 0xF380 && second & 0xFF00 == 0x8800;
    let from_special = first == 0xF3EF && second & 0xF000 == 0x8000;
    let barrier = first == 0xF3BF && matches!(second & 0xFFF0, 0x8F40 | 0x8F50 | 0x8F60);
    let undefined = first & 0xFFF0 == 0xF7F0 && second & 0xF000 == 0xA000;
    branch_with_link || to_special || from_special || barrier || undefined
}

/// 32-bit instructions of the DSP extension and of coprocessors, the floating-point unit among them.
fn beyond_v7m(first: u16, second: u16) -> Option<&'static str> {
    let (group, op1, op2) = (first >> 8, first >> 4 & 0xF, second >> 4 & 0xF);
    match group {
        0xEA if op1 == 0xC => Some("PKHBT or PKHTB"),
        0xEC..=0xEF | 0xFC..=0xFF => Some("a coprocessor instruction"),
        // SSAT and USAT have the same first halfword, and a shift that is not zero.
        0xF3 if (op1 == 0x2 || op1 == 0xA) && second & 0xF0C0 == 0 => Some("SSAT16 or USAT16"),
        0xFA if second >> 12 == 0xF => {
            let accumulates = first & 0xF != 0xF;
            match (op1, op2) {
                (2 | 3, 8..) => Some("SXTB16, UXTB16 or one of their kin"),
                (0 | 1 | 4 | 5, 8..) if accumulates => Some("an extension with addition"),
                (8.., 0..=7) => Some("a parallel addition or subtraction"),
                (8, 8..=11) => Some("QADD or one of its kin"),
                (10, 8..=11) => Some("SEL"),
                _ => None,
            }
        }
        0xFB => match (op1, op2) {
            (1..=7, _) => Some("a multiplication of halfwords, SMMUL or USADA8"),
            (12, 8..) | (13, 12 | 13) | (14, 6) => Some("a long multiplication of halfwords or UMAAL"),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lacking(core: Core, first: u16, second: Option<u16>) -> bool {
        Instruction { address: 0, first, second }.lacking_on(core).is_some()
    }

    /// Encodings as LLVM's assembler makes them.
    #[test]
    fn the_dsp_extension_is_known_from_the_base() {
        let extension = [
            (0xFB21, 0x3002, "smlad r0, r1, r2, r3"),
            (0xFB21, 0xF002, "smuad r0, r1, r2"),
            (0xFB11, 0xF002, "smulbb r0, r1, r2"),
            (0xFB51, 0xF002, "smmul r0, r1, r2"),
            (0xFB71, 0x3002, "usada8 r0, r1, r2, r3"),
            (0xFBC0, 0x10C2, "smlald r1, r0, r0, r2"),
            (0xFBE0, 0x1062, "umaal r1, r0, r0, r2"),
            (0xFA3F, 0xF081, "uxtb16 r0, r1"),
            (0xFA11, 0xF082, "uxtah r0, r1, r2"),
            (0xFA81, 0xF052, "uqadd8 r0, r1, r2"),
            (0xFAA1, 0xF082, "sel r0, r1, r2"),
            (0xFA82, 0xF081, "qadd r0, r1, r2"),
            (0xEAC1, 0x0002, "pkhbt r0, r1, r2"),
            (0xF321, 0x0007, "ssat16 r0, #8, r1"),
            (0xF3A1, 0x0007, "usat16 r0, #7, r1"),
            (0xEE30, 0x0A20, "vadd.f32 s0, s0, s1"),
        ];
        for (first, second, what) in extension {
            assert!(lacking(Core::ArmV7m, first, Some(second)), "{what}");
        }
        let base = [
            (0xFB01, 0xF002, "mul r0, r1, r2"),
            (0xFB01, 0x3002, "mla r0, r1, r2, r3"),
            (0xFB01, 0x3012, "mls r0, r1, r2, r3"),
            (0xFB82, 0x0103, "smull r0, r1, r2, r3"),
            (0xFBC2, 0x0103, "smlal r0, r1, r2, r3"),
            (0xFBB1, 0xF0F2, "udiv r0, r1, r2"),
            (0xFA0F, 0xF881, "sxth.w r8, r1"),
            (0xFA5F, 0xF881, "uxtb.w r8, r1"),
            (0xFA01, 0xF002, "lsl.w r0, r1, r2"),
            (0xFA91, 0xF081, "rev.w r0, r1"),
            (0xFAB1, 0xF081, "clz r0, r1"),
            (0xF381, 0x0008, "usat r0, #8, r1"),
            (0xF3A1, 0x0048, "usat r0, #8, r1, asr #1"),
            (0xEA81, 0x0002, "eor.w r0, r1, r2"),
            (0xE9D0, 0x0100, "ldrd r0, r1, [r0]"),
        ];
        for (first, second, what) in base {
            assert!(!lacking(Core::ArmV7m, first, Some(second)), "{what}");
            assert!(lacking(Core::ArmV6m, first, Some(second)), "{what}");
        }
    }

    #[test]
    fn cortex_m0_has_few_long_instructions_and_no_conditional_blocks() {
        let long = [
            (0xF000, 0xF800, "bl"),
            (0xF7FF, 0xFFFE, "bl backwards"),
            (0xF3EF, 0x8010, "mrs r0, primask"),
            (0xF380, 0x8808, "msr msp, r0"),
            (0xF3BF, 0x8F4F, "dsb"),
            (0xF3BF, 0x8F5F, "dmb"),
            (0xF3BF, 0x8F6F, "isb"),
        ];
        for (first, second, what) in long {
            assert!(!lacking(Core::ArmV6m, first, Some(second)), "{what}");
        }
        assert!(lacking(Core::ArmV6m, 0xF000, Some(0xB800)), "b.w");
        for (first, lacks) in
            [(0xB108, true), (0xB908, true), (0xBF18, true), (0xBF00, false), (0xBF30, false), (0xB500, false)]
        {
            assert_eq!(lacking(Core::ArmV6m, first, None), lacks, "{first:#06x}");
        }
    }
}
