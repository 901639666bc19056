//! Which layout each layer's weights take: the one of the lowest measured cost that the model's size allows.
//!
//! All weight sections together may take [`PERCENT_AT_MOST`] more than their bare bits, so a small layer may be generous
//! where a large one is frugal. Where they would take more, layers step down to smaller layouts, those first that lose
//! the least for a byte saved.

use releq_firmware::kernels::CoreClass;
use releq_shared::blob::Op;
use releq_shared::layout::Layout;

use super::costs::{CostTable, LayerKind};

/// How much more than their bare bits all weight sections may take, in percent.
pub const PERCENT_AT_MOST: u64 = 7;

/// Costs that differ by less are taken for equal, and the smaller layout is taken: a table is of one shape a kind.
const COSTS_TAKEN_FOR_EQUAL: f64 = 0.03;

/// A layout that a layer could have.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    layout: Layout,
    /// Of the whole layer.
    cost: f64,
    bytes: u64,
}

/// The layouts of some operations with weights, whose own layouts do not matter: by `costs`, or where these say nothing
/// by what the class of core prefers.
#[must_use]
pub fn choose(ops: &[Op<'_>], class: CoreClass, costs: Option<&CostTable>) -> Vec<Layout> {
    let candidates: Vec<Vec<Candidate>> = ops.iter().map(|op| candidates(op, class, costs)).collect();
    let bits = |op: &Op<'_>| match (op.weights(), op.weight_shape()) {
        (Some(weights), Some((rows, columns))) => u64::from(rows) * columns * u64::from(weights.bits.get()),
        _ => 0,
    };
    let bare_bits: u64 = ops.iter().map(bits).sum();
    let mut chosen: Vec<usize> = vec![0; ops.len()];
    let bytes = |chosen: &[usize]| -> u64 { chosen.iter().zip(&candidates).map(|(&at, all)| all[at].bytes).sum() };
    while bytes(&chosen) * 8 * 100 > bare_bits * (100 + PERCENT_AT_MOST) {
        let steps = candidates.iter().enumerate().flat_map(|(layer, all)| {
            let now = all[chosen[layer]];
            let smaller = all.iter().enumerate().filter(move |(_, other)| other.bytes < now.bytes);
            smaller.map(move |(at, other)| (layer, at, (other.cost - now.cost) / (now.bytes - other.bytes) as f64))
        });
        match steps.min_by(|a, b| a.2.total_cmp(&b.2)) {
            Some((layer, at, _)) => chosen[layer] = at,
            None => break,
        }
    }
    chosen.iter().zip(&candidates).map(|(&at, all)| all[at].layout).collect()
}

/// The layouts that a layer could have, the best first. The bitstream is always among them.
fn candidates(op: &Op<'_>, class: CoreClass, costs: Option<&CostTable>) -> Vec<Candidate> {
    let (Some(weights), Some((rows, columns)), Some(kind)) = (op.weights(), op.weight_shape(), LayerKind::of(op))
    else {
        return vec![Candidate { layout: Layout::Bitstream, cost: 0.0, bytes: 0 }];
    };
    let bits = weights.bits;
    let measured = costs.map_or(&[][..], |costs| costs.layouts(kind, bits));
    let preferred = [(class.preferred_layout(op, bits), 0.0), (Layout::Bitstream, 1.0)];
    let known = if measured.is_empty() { &preferred[..] } else { measured };
    let candidate = |(layout, per_mac): &(Layout, f64)| {
        let len = layout.section_len(rows as usize, columns as usize, bits)?;
        let bytes = len.next_multiple_of(4) as u64;
        Some(Candidate { layout: *layout, cost: per_mac * op.macs() as f64, bytes })
    };
    let mut all: Vec<Candidate> = known.iter().filter_map(candidate).collect();
    let cheapest = all.iter().fold(f64::INFINITY, |least, one| least.min(one.cost));
    let equal_to_cheapest = cheapest * (1.0 + COSTS_TAKEN_FOR_EQUAL);
    all.sort_by(|a, b| {
        let [a_counts, b_counts] = [a.cost, b.cost].map(|cost| if cost <= equal_to_cheapest { cheapest } else { cost });
        a_counts.total_cmp(&b_counts).then(a.bytes.cmp(&b.bytes))
    });
    all
}

#[cfg(test)]
mod tests {
    use releq_shared::Bitwidth;
    use releq_shared::blob::{Activation, ChannelTable, Dense, Section, Tensor, TensorKind, Weights};

    use super::*;

    fn dense(inputs: u16, outputs: u16, bits: u8) -> Op<'static> {
        let tensor =
            |channels| Tensor { offset: 0, height: 1, width: 1, channels, kind: TensorKind::U8, zero_point: 0 };
        let bits = Bitwidth::new(bits).unwrap();
        let (codes, channels) = (Section::default(), ChannelTable::default());
        let weights = Weights { bits, z: 0, layout: Layout::Bitstream, codes, channels };
        Op::Dense(Dense {
            name: "",
            input: tensor(inputs),
            output: tensor(outputs),
            activation: Activation::FULL,
            weights,
        })
    }

    fn table(bits: u8, costs: &[(Layout, f64)]) -> CostTable {
        let mut table = CostTable::default();
        for &(layout, cost) in costs {
            table.insert(LayerKind::Dense, Bitwidth::new(bits).unwrap(), layout, cost);
        }
        table
    }

    #[test]
    fn the_choice_follows_the_table() {
        let op = [dense(800, 500, 1)];
        let quads = table(1, &[(Layout::Bitstream, 9.0), (Layout::TwinQuads, 0.8), (Layout::Duos, 3.0)]);
        assert_eq!(choose(&op, CoreClass::ArmV7em, Some(&quads)), [Layout::TwinQuads]);
        let duos = table(1, &[(Layout::Bitstream, 9.0), (Layout::TwinQuads, 0.8), (Layout::Duos, 0.3)]);
        assert_eq!(choose(&op, CoreClass::ArmV7em, Some(&duos)), [Layout::Duos]);
        let bitstream = table(1, &[(Layout::Bitstream, 0.1), (Layout::TwinQuads, 0.8), (Layout::Duos, 0.3)]);
        assert_eq!(choose(&op, CoreClass::ArmV7em, Some(&bitstream)), [Layout::Bitstream]);
    }

    #[test]
    fn a_hairs_breadth_is_no_reason_for_more_bytes() {
        let op = [dense(20, 10, 5)];
        let costs = table(5, &[(Layout::Duos, 0.99), (Layout::Bitstream, 1.0)]);
        assert_eq!(choose(&op, CoreClass::ArmV7m, Some(&costs)), [Layout::Bitstream]);
    }

    #[test]
    fn without_a_table_the_class_decides() {
        let ops = [dense(800, 500, 1)];
        assert_eq!(choose(&ops, CoreClass::ArmV7em, None), [Layout::TwinQuads]);
        assert_eq!(choose(&ops, CoreClass::ArmV7em, Some(&table(2, &[(Layout::Duos, 0.1)]))), [Layout::TwinQuads]);
        assert_eq!(choose(&ops, CoreClass::ArmV7m, None), [Layout::Duos]);
        assert_eq!(choose(&ops, CoreClass::Portable, None), [Layout::Bitstream]);
    }

    #[test]
    fn a_small_layer_may_be_generous_a_large_one_may_not() {
        // Three codes of 5 bits in a halfword, and rows filled up to fours: 10 rows of 20 take 28% more than their bits.
        let costs = table(5, &[(Layout::Bitstream, 9.0), (Layout::Duos, 1.0)]);
        let (small, large) = (dense(20, 10, 5), dense(800, 500, 5));
        assert_eq!(choose(&[small], CoreClass::ArmV7m, Some(&costs)), [Layout::Bitstream]);
        assert_eq!(choose(&[small, large], CoreClass::ArmV7m, Some(&costs)), [Layout::Duos; 2]);
        let section = |op: &Op<'_>, layout: Layout| {
            let (rows, columns) = op.weight_shape().unwrap();
            layout.section_len(rows as usize, columns as usize, op.weights().unwrap().bits).unwrap() as f64
        };
        assert!(section(&small, Layout::Duos) > 1.2 * section(&small, Layout::Bitstream));
        assert!(section(&large, Layout::Duos) < 1.07 * section(&large, Layout::Bitstream));
    }
}
