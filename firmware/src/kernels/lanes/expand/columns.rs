//! The columns under four placements as wide lanes want them: packed, or as tables.

use super::super::wide::{COLUMNS_A_TABLE, WORDS_A_TABLE};
use super::super::writer::{COLUMNS_A_SUM, Writer, add_fields};
use super::super::{Columns, PIXELS, build_tables, build_tables_of_quads};
use super::{Cursor, Patches, Spread, in_rows};
use crate::needs::{Need, needed};

impl Spread<'_> {
    /// Hands `count` columns from `cursor` on to `put`, some runs at a time.
    #[inline(always)]
    fn each_run(
        &self,
        patches: &Patches,
        Cursor { mut row, mut at, .. }: Cursor,
        count: usize,
        mut put: impl FnMut(&Columns<'_>, usize),
    ) {
        let mut left = count;
        if let Some(corners) = patches.inside {
            while left > 0 {
                let now = left.min(COLUMNS_A_SUM);
                let (first, run, gap) = (self.run - at, self.run, self.row_len - self.run);
                let from = row * self.row_len + at;
                // To the last column, so that none need ask how far the runs reach.
                (row, at) = in_rows(row, at + now - 1, run);
                at += 1;
                let reach = row * self.row_len + at - from;
                let sources = corners.map(|corner| &self.input[corner + from..][..reach]);
                put(&Columns { sources, first, run, gap }, now);
                left -= now;
                if at == run {
                    (row, at) = (row + 1, 0);
                }
            }
            return;
        }
        let padding = [self.op.input.zero_point; 32];
        while left > 0 {
            let (column, channel) = (at / self.channels, at % self.channels);
            let now = (self.channels - channel).min(left).min(padding.len());
            let pixels = patches.corners.map(|corner| self.pixel(corner, row, column));
            let sources =
                pixels.map(|pixel| pixel.map_or(&padding[..now], |pixel| &self.input[pixel + channel..][..now]));
            put(&Columns { sources, first: now, run: now, gap: 0 }, now);
            left -= now;
            at += now;
            if at == self.run {
                (row, at) = (row + 1, 0);
            }
        }
    }

    /// Columns that there are from `cursor` on, of `count` wanted.
    fn present(&self, cursor: Cursor, count: usize) -> usize {
        count.min(self.columns - cursor.column)
    }

    /// The columns from `cursor` on as wide lanes want them.
    pub(super) fn fill_wide(
        &self,
        patches: &Patches,
        cursor: Cursor,
        bits: usize,
        columns: &mut [[u32; 2]],
        totals: &mut [i32; PIXELS],
    ) {
        let present = self.present(cursor, columns.len());
        let mut writer = Writer::new(columns, bits);
        self.each_run(patches, cursor, present, |columns, count| writer.push(columns, count));
        writer.finish(totals);
    }

    /// Sets of tables of the columns from `cursor` on.
    pub(super) fn fill_tables(
        &self,
        patches: &Patches,
        cursor: Cursor,
        tables: &mut [u32],
        totals: &mut [i32; PIXELS],
    ) {
        let count = tables.len() / WORDS_A_TABLE * COLUMNS_A_TABLE;
        if needed(Need::LooseChannels) && !self.channels.is_multiple_of(COLUMNS_A_TABLE) {
            let columns = tables.len() - count * 2;
            self.fill_wide(patches, cursor, 0, tables[columns..].as_chunks_mut::<2>().0, totals);
            return build_tables(tables);
        }
        let present = self.present(cursor, count);
        let (mut tables, behind) = tables.split_at_mut(present / COLUMNS_A_TABLE * WORDS_A_TABLE);
        behind.fill(0);
        self.each_run(patches, cursor, present, |columns, count| {
            let (now, later) = core::mem::take(&mut tables).split_at_mut(count / COLUMNS_A_TABLE * WORDS_A_TABLE);
            tables = later;
            add_fields(totals, build_tables_of_quads(columns, now));
        });
    }
}
