//! What an image's flash is used for, told by the names of its symbols.

use object::{Object, ObjectSection, ObjectSymbol, SectionIndex, SectionKind};
use serde::Serialize;

use crate::run::FlashSection;

/// What flash is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlashUse {
    /// Walks the blob's operations; reads and checks the blob.
    Engine,
    /// The arithmetic.
    Kernels,
    /// Answers requests, with the link, the log, the meter and the start-up.
    Server,
    /// What panics say and how.
    Panics,
    /// The compiler's library: copies, fills, long divisions.
    Library,
    /// Constants without a name, and gaps.
    Unnamed,
    /// The interrupt vectors.
    Vectors,
    /// The model.
    Model,
}

impl FlashUse {
    /// Every use.
    pub const ALL: [Self; 8] = [
        Self::Engine,
        Self::Kernels,
        Self::Server,
        Self::Panics,
        Self::Library,
        Self::Unnamed,
        Self::Vectors,
        Self::Model,
    ];

    /// Its name in a table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Kernels => "kernels",
            Self::Server => "server, link, start-up",
            Self::Panics => "panics and their text",
            Self::Library => "compiler's library",
            Self::Unnamed => "unnamed constants, gaps",
            Self::Vectors => "interrupt vectors",
            Self::Model => "model",
        }
    }

    /// By a symbol's mangled name: the first of these parts that it contains tells.
    fn of_symbol(name: &str) -> Self {
        const PARTS: &[(&str, FlashUse)] = &[
            ("MODEL_INSIDE", FlashUse::Model),
            ("9panicking", FlashUse::Panics),
            ("core3fmt", FlashUse::Panics),
            ("core..fmt", FlashUse::Panics),
            ("rust_begin_unwind", FlashUse::Panics),
            ("_fail", FlashUse::Panics),
            ("something_went_wrong", FlashUse::Panics),
            ("needs7lacking", FlashUse::Panics),
            ("releq_firmware7kernels", FlashUse::Kernels),
            ("releq_shared10requantize", FlashUse::Kernels),
            ("releq_shared6layout", FlashUse::Kernels),
            ("releq_shared5codes", FlashUse::Kernels),
            ("releq_firmware6engine", FlashUse::Engine),
            ("releq_firmware5arena", FlashUse::Engine),
            ("releq_shared4blob", FlashUse::Engine),
            ("releq_shared..blob", FlashUse::Engine),
            ("4core3str", FlashUse::Engine),
            ("3crc", FlashUse::Engine),
            ("compiler_builtins", FlashUse::Library),
            ("__aeabi", FlashUse::Library),
            ("__INTERRUPTS", FlashUse::Vectors),
            ("__EXCEPTIONS", FlashUse::Vectors),
            ("__RESET_VECTOR", FlashUse::Vectors),
            (".Lanon", FlashUse::Unnamed),
        ];
        // What is left is the server's: it, its drivers, and what of other crates only it uses.
        PARTS.iter().find(|(part, _)| name.contains(part)).map_or(Self::Server, |found| found.1)
    }
}

/// Bytes of one use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FlashShare {
    /// The use.
    pub used_for: FlashUse,
    /// Its bytes.
    pub bytes: u64,
}

/// How an image uses flash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FlashReport {
    /// By section.
    pub sections: Vec<FlashSection>,
    /// By use; the sum is that of the sections.
    pub uses: Vec<FlashShare>,
}

impl FlashReport {
    /// Reads an ELF file.
    ///
    /// # Errors
    /// If it is none.
    pub fn of(elf: &[u8]) -> Result<Self, object::Error> {
        let file = object::File::parse(elf)?;
        let mut report = Self::default();
        let mut bytes = [0; FlashUse::ALL.len()];
        for section in file.sections() {
            // Constants that the linker may merge, and so all of them, count as strings.
            let kept = matches!(
                section.kind(),
                SectionKind::Text | SectionKind::ReadOnlyData | SectionKind::ReadOnlyString | SectionKind::Data
            );
            let name = section.name()?;
            if kept && section.size() > 0 && !name.starts_with(".defmt") {
                report.sections.push(FlashSection { name: name.to_owned(), bytes: section.size() });
                let gaps = count_symbols(&file, section.index(), section.size(), &mut bytes);
                bytes[FlashUse::Unnamed as usize] += gaps;
            }
        }
        report.uses = FlashUse::ALL.map(|used_for| FlashShare { used_for, bytes: bytes[used_for as usize] }).to_vec();
        Ok(report)
    }

    /// All bytes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.sections.iter().map(|section| section.bytes).sum()
    }

    /// Bytes of one use.
    #[must_use]
    pub fn bytes_of(&self, used_for: FlashUse) -> u64 {
        self.uses.iter().filter(|share| share.used_for == used_for).map(|share| share.bytes).sum()
    }
}

/// Adds the sizes of a section's symbols to their uses, each byte once; returns the bytes that belong to none.
fn count_symbols(file: &object::File<'_>, section: SectionIndex, size: u64, bytes: &mut [u64]) -> u64 {
    let in_section = file.symbols().filter(|symbol| symbol.section_index() == Some(section) && symbol.size() > 0);
    // Functions that were found to be equal lie at one address.
    let mut symbols: Vec<_> = in_section.map(|symbol| (symbol.address() & !1, symbol.size(), symbol)).collect();
    symbols.sort_by_key(|&(address, size, _)| (address, std::cmp::Reverse(size)));
    let (mut end, mut counted) = (0, 0);
    for (address, size, symbol) in symbols {
        let fresh = (address + size).saturating_sub(address.max(end));
        end = end.max(address + size);
        counted += fresh;
        bytes[FlashUse::of_symbol(symbol.name().unwrap_or_default()) as usize] += fresh;
    }
    size.saturating_sub(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_told_apart_by_their_names() {
        let cases = [
            ("_ZN14releq_firmware7kernels5lanes8dsp_conv5twin117h7cf0c89130da8efeE", FlashUse::Kernels),
            (
                "_ZN90_$LT$releq_shared..blob..reader..Ops$u20$as$u20$core..iter..traits..iterator..Iterator$GT$4nextE",
                FlashUse::Engine,
            ),
            ("_ZN4core9panicking9panic_fmt17h0E", FlashUse::Panics),
            ("_ZN14releq_firmware6server17Exchange$LT$P$GT$6answer17h0E", FlashUse::Server),
            ("__aeabi_memcpy", FlashUse::Library),
            ("_ZN12releq_boards5board12MODEL_INSIDE17h0E", FlashUse::Model),
        ];
        for (name, used_for) in cases {
            assert_eq!(FlashUse::of_symbol(name), used_for, "{name}");
        }
    }
}
