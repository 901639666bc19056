//! What an assignment costs: the State of Quantization, in the forms of the paper and in those of a deployment.

use releq_shared::Bitwidth;
use serde::{Deserialize, Serialize};

use super::{Assignment, LayerFacts, SearchError};
use crate::device::board;
use crate::pack::costs::CostTable;

/// Energy of a memory access over that of a multiply-accumulate, as the paper has it.
const MEMORY_OVER_MAC: f64 = 120.0;
/// Bytes of bias, multiplier and shift that a blob holds for each output channel, whatever the bits.
const CHANNEL_BYTES: f64 = 9.0;

/// The cost of an assignment, 1 at 8 bits everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cost {
    /// `sum b_i / (L b_max)`: the plain mean of the bits, which is what the literature reports.
    #[default]
    MeanBits,
    /// `sum (n_i^w E_mem/E_mac + n_i^mac) b_i`, relative to `b_max` everywhere: memory and compute energy.
    Energy,
    /// Bytes of the blob's weights and channel tables.
    BlobBytes,
    /// Instructions (or cycles) of an inference on a board, by the recorded table of its kernels: each layer's
    /// multiply-accumulates times what one costs at its bitwidth in the cheapest layout. Written
    /// `cost = { board = "qemu-mps2-an386" }`.
    Board(String),
}

/// A cost made ready for a network: what each layer costs at each bitwidth. Costs of assignments are sums of these.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CostModel {
    /// By layer, then by bits less one; all layers at 8 bits sum to 1.
    shares: Vec<Vec<f64>>,
}

impl Cost {
    /// The cost of a network's layers.
    pub(super) fn model(&self, layers: &[LayerFacts]) -> Result<CostModel, SearchError> {
        let table = match self {
            Self::Board(name) => Some(recorded(name)?),
            _ => None,
        };
        let of = |layer: &LayerFacts, bits: Bitwidth| -> Result<f64, SearchError> {
            let wide = f64::from(bits.get());
            Ok(match (self, &table) {
                (Self::Energy, _) => (layer.weights as f64 * MEMORY_OVER_MAC + layer.macs as f64) * wide,
                (Self::BlobBytes, _) => layer.weights as f64 / 8.0 * wide + layer.out_channels as f64 * CHANNEL_BYTES,
                (Self::Board(board), Some(table)) => {
                    let per_mac = table.cheapest(layer.kind, bits).ok_or_else(|| {
                        SearchError::Config(format!(
                            "the costs of {board} lack {} layers at {bits} bits; measure them: releq bench kernels \
                             --board {board} --save",
                            layer.kind.name()
                        ))
                    })?;
                    per_mac * layer.macs as f64
                }
                (Self::MeanBits | Self::Board(_), _) => wide,
            })
        };
        let row = |layer| Bitwidth::all().map(|bits| of(layer, bits)).collect();
        let mut shares: Vec<Vec<f64>> = layers.iter().map(row).collect::<Result<_, _>>()?;
        let widest: f64 = shares.iter().filter_map(|row| row.last()).sum();
        for share in shares.iter_mut().flatten() {
            *share /= widest.max(f64::MIN_POSITIVE);
        }
        Ok(CostModel { shares })
    }

    /// The cost of `bits`, 1 at 8 bits everywhere.
    ///
    /// # Errors
    /// [`SearchError::Config`] if a board's costs are not known.
    pub fn of(&self, bits: &Assignment, layers: &[LayerFacts]) -> Result<f64, SearchError> {
        Ok(self.model(layers)?.of(bits))
    }
}

impl CostModel {
    /// The cost of `bits`.
    pub(super) fn of(&self, bits: &Assignment) -> f64 {
        bits.0.iter().enumerate().map(|(layer, &bits)| self.at(layer, bits)).sum()
    }

    /// The share of one layer.
    pub(super) fn at(&self, layer: usize, bits: Bitwidth) -> f64 {
        self.shares[layer][usize::from(bits.get()) - 1]
    }
}

/// The recorded table of a board's class of core.
fn recorded(name: &str) -> Result<CostTable, SearchError> {
    let board = board::by_name(name).map_err(|error| SearchError::Config(error.to_string()))?;
    CostTable::recorded(board.class()).ok_or_else(|| {
        SearchError::Config(format!("no costs are recorded for the core of {name}; take another board as the cost"))
    })
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MeanBits => f.write_str("mean-bits"),
            Self::Energy => f.write_str("energy"),
            Self::BlobBytes => f.write_str("blob-bytes"),
            Self::Board(board) => write!(f, "board:{board}"),
        }
    }
}

impl std::str::FromStr for Cost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "mean-bits" => Self::MeanBits,
            "energy" => Self::Energy,
            "blob-bytes" => Self::BlobBytes,
            _ => match text.strip_prefix("board:") {
                Some(board) => Self::Board(board.to_owned()),
                None => {
                    return Err(
                        "a cost is mean-bits, energy, blob-bytes or board:NAME, NAME one of `releq boards`".into()
                    );
                }
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::costs::LayerKind;

    fn layer(weights: u64, macs: u64, kind: LayerKind) -> LayerFacts {
        let name = String::new();
        LayerFacts { name, out_channels: 10, in_channels: 1, kernel: 1, kind, weights, macs, weight_std: 1.0 }
    }

    #[test]
    fn costs_are_those_of_hand() {
        let layers = [layer(100, 1000, LayerKind::Dense), layer(10, 10, LayerKind::Dense)];
        let bits: Assignment = "4,8".parse().unwrap();
        let close = |cost: Cost, expected: f64| assert!((cost.of(&bits, &layers).unwrap() - expected).abs() < 1e-12);
        close(Cost::MeanBits, 0.75);
        close(Cost::Energy, (13_000.0 * 4.0 + 1_210.0 * 8.0) / (14_210.0 * 8.0));
        close(Cost::BlobBytes, (50.0 + 10.0 + 180.0) / (100.0 + 10.0 + 180.0));
        assert!((Cost::Energy.of(&"8,8".parse().unwrap(), &layers).unwrap() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_boards_cost_is_its_tables() {
        let layers = [layer(100, 3000, LayerKind::Convolution), layer(10, 1000, LayerKind::Dense)];
        let board = Cost::Board("qemu-mps2-an386".into());
        let table = recorded("qemu-mps2-an386").unwrap();
        let at = |kind, bits| table.cheapest(kind, Bitwidth::new(bits).unwrap()).unwrap();
        let of = |a, b| 3000.0 * at(LayerKind::Convolution, a) + 1000.0 * at(LayerKind::Dense, b);
        let cost = board.of(&"2,5".parse().unwrap(), &layers).unwrap();
        assert!((cost - of(2, 5) / of(8, 8)).abs() < 1e-12);
        let unknown = Cost::Board("qemu-nothing".into()).of(&"2,5".parse().unwrap(), &layers).unwrap_err();
        assert!(unknown.to_string().contains("qemu-nothing"), "{unknown}");
    }

    #[test]
    fn costs_are_written_as_they_are_read() {
        #[derive(Serialize, Deserialize)]
        struct File {
            cost: Cost,
        }
        for (text, cost) in [
            ("cost = \"blob-bytes\"\n", Cost::BlobBytes),
            ("[cost]\nboard = \"qemu-mps2-an386\"\n", Cost::Board("qemu-mps2-an386".into())),
        ] {
            assert_eq!(toml::from_str::<File>(text).unwrap().cost, cost);
            assert_eq!(toml::to_string(&File { cost: cost.clone() }).unwrap(), text);
            assert_eq!(cost.to_string().parse(), Ok(cost));
        }
        assert!("board".parse::<Cost>().is_err());
    }
}
