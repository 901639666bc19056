//! The board's defmt log, decoded with the tables in its ELF file.

use defmt_decoder::{Locations, Table};

/// Decodes log frames.
pub(super) struct LogDecoder {
    table: Option<Table>,
    locations: Option<Locations>,
}

impl LogDecoder {
    /// From the firmware's ELF file. Without tables in it, logs are shown as what they are: unreadable.
    pub(super) fn new(elf: &[u8]) -> Self {
        let table = Table::parse(elf).ok().flatten();
        let locations = table.as_ref().and_then(|table| table.get_locations(elf).ok());
        Self { table, locations }
    }

    /// One line for one frame, with file and line of the call where the ELF file tells.
    pub(super) fn decode(&self, frame: &[u8]) -> String {
        let Some(Ok((frame, _))) = self.table.as_ref().map(|table| table.decode(frame)) else {
            return format!("(a log frame of {} bytes that this firmware's tables do not explain)", frame.len());
        };
        let level = frame.level().map_or("", |level| level.as_str());
        let place = self.locations.as_ref().and_then(|locations| locations.get(&frame.index()));
        let place = place.map(|place| {
            let file = place.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            format!(" ({file}:{})", place.line)
        });
        format!("{level:<5} {}{}", frame.display_message(), place.unwrap_or_default())
    }
}
