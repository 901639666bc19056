//! Measured costs of kernels: what a multiply-accumulate takes, by kind of layer, bitwidth and layout, on a class of core.
//!
//! The packer chooses layouts by these tables. `releq bench kernels --board B --save` measures a board and writes the table
//! of its core's class to `host/assets/costs/`, from where it is compiled in.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use releq_firmware::kernels::CoreClass;
use releq_shared::Bitwidth;
use releq_shared::blob::Op;
use releq_shared::layout::Layout;
use serde::{Deserialize, Serialize};

/// The tables that are compiled in.
const RECORDED: [(CoreClass, &str); 4] = [
    (CoreClass::ArmV6m, include_str!("../../assets/costs/armv6m.toml")),
    (CoreClass::ArmV7m, include_str!("../../assets/costs/armv7m.toml")),
    (CoreClass::ArmV7em, include_str!("../../assets/costs/armv7em.toml")),
    (CoreClass::ArmV81mMve, include_str!("../../assets/costs/armv81mmve.toml")),
];

/// Layers whose kernels have costs of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerKind {
    /// A convolution of up to three input channels: short rows of weights.
    FewChannels,
    /// A convolution of 1 x 1.
    Pointwise,
    /// Any other convolution without stride and padding.
    Convolution,
    /// One with padding.
    Padded,
    /// One with a stride.
    Strided,
    /// A depthwise convolution.
    Depthwise,
    /// A dense layer.
    Dense,
}

impl LayerKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::FewChannels,
        Self::Pointwise,
        Self::Convolution,
        Self::Padded,
        Self::Strided,
        Self::Depthwise,
        Self::Dense,
    ];

    /// The kind of an operation, if it has weights.
    #[must_use]
    pub fn of(op: &Op<'_>) -> Option<Self> {
        match op {
            Op::Conv2d(op) => {
                let (input, [rows, columns]) = (usize::from(op.input.channels), op.kernel);
                let [pointwise, strided] = [(rows, columns) == (1, 1), op.stride != [1, 1]];
                Some(Self::of_convolution(input, op.groups > 1, pointwise, strided, op.padding != [0; 4]))
            }
            Op::Dense(_) => Some(Self::Dense),
            Op::Pool(_) | Op::Add(_) => None,
        }
    }

    /// The kind of a convolution of so many input channels.
    #[must_use]
    #[expect(
        clippy::fn_params_excessive_bools,
        reason = "each is a fact of the convolution, and there is one caller of each kind"
    )]
    pub const fn of_convolution(channels: usize, grouped: bool, pointwise: bool, strided: bool, padded: bool) -> Self {
        match () {
            () if grouped => Self::Depthwise,
            () if channels <= 3 => Self::FewChannels,
            () if pointwise => Self::Pointwise,
            () if strided => Self::Strided,
            () if padded => Self::Padded,
            () => Self::Convolution,
        }
    }

    /// Its name, as in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FewChannels => "few-channels",
            Self::Pointwise => "pointwise",
            Self::Convolution => "convolution",
            Self::Padded => "padded",
            Self::Strided => "strided",
            Self::Depthwise => "depthwise",
            Self::Dense => "dense",
        }
    }
}

/// What a multiply-accumulate costs on a class of core.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CostTable {
    /// The board that was measured.
    pub board: String,
    /// Its core.
    pub core: String,
    /// `instructions` or `cycles`.
    pub unit: String,
    per_mac: BTreeMap<(LayerKind, Bitwidth), Vec<(Layout, f64)>>,
}

/// The file of a table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CostFile {
    board: String,
    core: String,
    unit: String,
    /// By kind, bits and layout.
    per_mac: BTreeMap<LayerKind, BTreeMap<String, BTreeMap<String, f64>>>,
}

impl CostTable {
    /// A table without costs.
    #[must_use]
    pub fn new(board: &str, core: &str, unit: &str) -> Self {
        let [board, core, unit] = [board, core, unit].map(str::to_owned);
        Self { board, core, unit, per_mac: BTreeMap::new() }
    }

    /// The table that was recorded for a class of core.
    #[must_use]
    pub fn recorded(class: CoreClass) -> Option<Self> {
        let (_, text) = RECORDED.iter().find(|(recorded, _)| *recorded == class)?;
        // A test reads every table that is compiled in.
        Self::from_toml(text).ok()
    }

    /// The name of a class's file in `host/assets/costs/`.
    #[must_use]
    pub fn file_name(class: CoreClass) -> String {
        format!("{class:?}.toml").to_lowercase()
    }

    /// The cost of a layout, if it was measured.
    #[must_use]
    pub fn per_mac(&self, kind: LayerKind, bits: Bitwidth, layout: Layout) -> Option<f64> {
        self.layouts(kind, bits).iter().find(|(measured, _)| *measured == layout).map(|(_, cost)| *cost)
    }

    /// The layouts that were measured for a kind and bitwidth, with their costs.
    #[must_use]
    pub fn layouts(&self, kind: LayerKind, bits: Bitwidth) -> &[(Layout, f64)] {
        self.per_mac.get(&(kind, bits)).map_or(&[], Vec::as_slice)
    }

    /// The cost of the cheapest layout of a kind and bitwidth, if any was measured.
    #[must_use]
    pub fn cheapest(&self, kind: LayerKind, bits: Bitwidth) -> Option<f64> {
        self.layouts(kind, bits).iter().map(|(_, cost)| *cost).min_by(f64::total_cmp)
    }

    /// Adds a cost.
    pub fn insert(&mut self, kind: LayerKind, bits: Bitwidth, layout: Layout, per_mac: f64) {
        self.per_mac.entry((kind, bits)).or_default().push((layout, per_mac));
    }

    /// Reads a table.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn from_toml(text: &str) -> Result<Self, String> {
        let CostFile { board, core, unit, per_mac } = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut table = Self::new(&board, &core, &unit);
        for (kind, rows) in per_mac {
            for (bits, costs) in rows {
                let width = bits.parse().ok().and_then(|bits| Bitwidth::new(bits).ok());
                let width = width.ok_or_else(|| format!("{}: {bits:?} is no bitwidth", kind.name()))?;
                for (name, cost) in costs {
                    let layout = Layout::ALL.into_iter().find(|layout| format!("{layout:?}") == name);
                    let layout = layout.ok_or_else(|| format!("{}: {name:?} is no layout", kind.name()))?;
                    table.insert(kind, width, layout, cost);
                }
            }
        }
        Ok(table)
    }

    /// Writes a table, a line for each kind and bitwidth.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = format!(
            "# {} a multiply-accumulate, written by `releq bench kernels --board {} --save`.\n\
             board = {:?}\ncore = {:?}\nunit = {:?}\n",
            self.unit, self.board, self.board, self.core, self.unit
        );
        let mut last = None;
        for ((kind, bits), costs) in &self.per_mac {
            if last != Some(kind) {
                text.push_str(&format!("\n[per_mac.{}]\n", kind.name()));
                last = Some(kind);
            }
            let costs: Vec<String> = costs.iter().map(|(layout, cost)| format!("{layout:?} = {cost:.3}")).collect();
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{bits} = {{ {} }}", costs.join(", "));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_as_they_are_written() {
        let mut table = CostTable::new("b", "c", "cycles");
        table.insert(LayerKind::Dense, Bitwidth::MAX, Layout::Bitstream, 12.125);
        table.insert(LayerKind::FewChannels, Bitwidth::MIN, Layout::Bitstream, 3.5);
        table.insert(LayerKind::FewChannels, Bitwidth::MIN, Layout::TwinRows, 0.5);
        assert_eq!(CostTable::from_toml(&table.to_toml()), Ok(table.clone()));
        assert_eq!(table.per_mac(LayerKind::FewChannels, Bitwidth::MIN, Layout::TwinRows), Some(0.5));
        assert!(CostTable::from_toml(&table.to_toml().replace("TwinRows", "Twins")).unwrap_err().contains("Twins"));
        assert!(CostTable::from_toml(&table.to_toml().replace("\n8 = ", "\n9 = ")).unwrap_err().contains("\"9\""));
    }

    #[test]
    fn every_recorded_table_knows_every_layout() {
        for (class, text) in RECORDED {
            let table = CostTable::from_toml(text).unwrap_or_else(|error| panic!("{class:?}: {error}"));
            for kind in LayerKind::ALL {
                for bits in Bitwidth::all() {
                    for layout in Layout::ALL.into_iter().filter(|layout| layout.holds(bits)) {
                        assert!(
                            table.per_mac(kind, bits, layout).is_some_and(|cost| cost > 0.0),
                            "{class:?} lacks {} at {bits} bits in {layout:?}; measure it: \
                             cargo run --release -- bench kernels --board {} --save",
                            kind.name(),
                            table.board,
                        );
                    }
                }
            }
        }
    }
}
