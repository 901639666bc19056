//! Which layout each layer's weights take: those of the lowest measured cost that the model's size allows.
//!
//! All weight sections together may take [`Target::percent_at_most`] more than their bare bits, so a small layer may be
//! generous where a large one is frugal. Of all combinations within that, the cheapest is found exactly: layer by layer, with
//! those combinations of the layers so far that no other beats in both bytes and cost.

use releq_firmware::kernels::CoreClass;
use releq_shared::blob::Op;
use releq_shared::layout::Layout;

use super::costs::{CostTable, LayerKind};

/// What layouts are chosen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The core.
    pub class: CoreClass,
    /// How much more than their bare bits all weight sections may take, in percent.
    pub percent_at_most: u32,
}

/// What weight sections may take beyond their bare bits where nothing else is said, in percent.
pub const USUAL_PERCENT_AT_MOST: u32 = 7;

impl From<CoreClass> for Target {
    fn from(class: CoreClass) -> Self {
        Self { class, percent_at_most: USUAL_PERCENT_AT_MOST }
    }
}

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

/// Layouts of the layers so far.
#[derive(Clone, Copy, Debug)]
struct Combination {
    bytes: u64,
    cost: f64,
    /// Its part without the last layer, by its place among those.
    before: usize,
    layout: Layout,
}

/// The layouts of some operations with weights, whose own layouts do not matter: by `costs`, or where these say nothing
/// by what the class of core prefers.
#[must_use]
pub fn choose(ops: &[Op<'_>], target: Target, costs: Option<&CostTable>) -> Vec<Layout> {
    let candidates: Vec<Vec<Candidate>> = ops.iter().map(|op| candidates(op, target.class, costs)).collect();
    let bits = |op: &Op<'_>| match (op.weights(), op.weight_shape()) {
        (Some(weights), Some((rows, columns))) => u64::from(rows) * columns * u64::from(weights.bits.get()),
        _ => 0,
    };
    let bare_bits: u64 = ops.iter().map(bits).sum();
    let least = |all: &[Candidate]| all.iter().map(|one| one.bytes).min().unwrap_or(0);
    let mut least_behind: u64 = candidates.iter().map(|all| least(all)).sum();
    let room = (bare_bits * u64::from(100 + target.percent_at_most) / 800).max(least_behind);
    let mut frontiers: Vec<Vec<Combination>> = Vec::with_capacity(ops.len());
    let nothing = [Combination { bytes: 0, cost: 0.0, before: 0, layout: Layout::Bitstream }];
    for all in &candidates {
        least_behind -= least(all);
        let mut grown = Vec::new();
        for (before, combination) in frontiers.last().map_or(&nothing[..], Vec::as_slice).iter().enumerate() {
            for &Candidate { layout, cost, bytes } in all {
                let (bytes, cost) = (combination.bytes + bytes, combination.cost + cost);
                if bytes + least_behind <= room {
                    grown.push(Combination { bytes, cost, before, layout });
                }
            }
        }
        grown.sort_by(|a, b| a.bytes.cmp(&b.bytes).then(a.cost.total_cmp(&b.cost)));
        // More bytes are worth it for less cost only.
        let mut cheapest = f64::INFINITY;
        grown.retain(|combination| {
            let better = combination.cost < cheapest;
            cheapest = cheapest.min(combination.cost);
            better
        });
        frontiers.push(grown);
    }
    // The last of a frontier is its cheapest.
    let mut place = frontiers.last().map_or(0, |frontier| frontier.len().saturating_sub(1));
    let mut chosen = Vec::with_capacity(ops.len());
    for frontier in frontiers.iter().rev() {
        let Combination { before, layout, .. } = frontier[place];
        chosen.push(layout);
        place = before;
    }
    chosen.reverse();
    chosen
}

/// The layouts that a layer could have. The bitstream is always among them.
fn candidates(op: &Op<'_>, class: CoreClass, costs: Option<&CostTable>) -> Vec<Candidate> {
    let (Some(weights), Some((rows, columns)), Some(kind)) = (op.weights(), op.weight_shape(), LayerKind::of(op))
    else {
        return vec![Candidate { layout: Layout::Bitstream, cost: 0.0, bytes: 0 }];
    };
    let bits = weights.bits;
    let measured = costs.map_or(&[][..], |costs| costs.layouts(kind, bits));
    let preferred = [(class.preferred_layout(op, bits), 0.0), (Layout::Bitstream, 1.0)];
    let known = if measured.is_empty() { &preferred[..] } else { measured };
    let cheapest = known.iter().fold(f64::INFINITY, |least, (_, per_mac)| per_mac.min(least));
    let candidate = |(layout, per_mac): &(Layout, f64)| {
        let len = layout.section_len(rows as usize, columns as usize, bits)?;
        let per_mac = if *per_mac <= cheapest * (1.0 + COSTS_TAKEN_FOR_EQUAL) { cheapest } else { *per_mac };
        let bytes = len.next_multiple_of(4) as u64;
        Some(Candidate { layout: *layout, cost: per_mac * op.macs() as f64, bytes })
    };
    known.iter().filter_map(candidate).collect()
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
        assert_eq!(choose(&op, CoreClass::ArmV7em.into(), Some(&quads)), [Layout::TwinQuads]);
        let duos = table(1, &[(Layout::Bitstream, 9.0), (Layout::TwinQuads, 0.8), (Layout::Duos, 0.3)]);
        assert_eq!(choose(&op, CoreClass::ArmV7em.into(), Some(&duos)), [Layout::Duos]);
        let bitstream = table(1, &[(Layout::Bitstream, 0.1), (Layout::TwinQuads, 0.8), (Layout::Duos, 0.3)]);
        assert_eq!(choose(&op, CoreClass::ArmV7em.into(), Some(&bitstream)), [Layout::Bitstream]);
    }

    #[test]
    fn a_hairs_breadth_is_no_reason_for_more_bytes() {
        let op = [dense(20, 10, 5)];
        let costs = table(5, &[(Layout::Duos, 0.99), (Layout::Bitstream, 1.0)]);
        assert_eq!(choose(&op, CoreClass::ArmV7m.into(), Some(&costs)), [Layout::Bitstream]);
    }

    #[test]
    fn without_a_table_the_class_decides() {
        let ops = [dense(800, 500, 1)];
        assert_eq!(choose(&ops, CoreClass::ArmV7em.into(), None), [Layout::TwinQuads]);
        assert_eq!(
            choose(&ops, CoreClass::ArmV7em.into(), Some(&table(2, &[(Layout::Duos, 0.1)]))),
            [Layout::TwinQuads]
        );
        assert_eq!(choose(&ops, CoreClass::ArmV7m.into(), None), [Layout::Duos]);
        assert_eq!(choose(&ops, CoreClass::Portable.into(), None), [Layout::Bitstream]);
    }

    #[test]
    fn a_small_layer_may_be_generous_a_large_one_may_not() {
        // Three codes of 5 bits in a halfword, and rows filled up to fours: 10 rows of 20 take a third more than their bits.
        let costs = table(5, &[(Layout::Bitstream, 9.0), (Layout::Duos, 1.0)]);
        let (small, large) = (dense(20, 10, 5), dense(800, 500, 5));
        assert_eq!(choose(&[small], CoreClass::ArmV7m.into(), Some(&costs)), [Layout::Bitstream]);
        assert_eq!(choose(&[small, large], CoreClass::ArmV7m.into(), Some(&costs)), [Layout::Duos; 2]);
        let generous = Target { class: CoreClass::ArmV7m, percent_at_most: 40 };
        assert_eq!(choose(&[small], generous, Some(&costs)), [Layout::Duos]);
        let section = |op: &Op<'_>, layout: Layout| {
            let (rows, columns) = op.weight_shape().unwrap();
            layout.section_len(rows as usize, columns as usize, op.weights().unwrap().bits).unwrap() as f64
        };
        assert!(section(&small, Layout::Duos) > 1.2 * section(&small, Layout::Bitstream));
        assert!(section(&large, Layout::Duos) < 1.07 * section(&large, Layout::Bitstream));
    }

    #[test]
    fn as_little_speed_as_possible_is_given_for_the_bytes() {
        // Each takes a third more in duos; only one of the two can, and it is the one that computes more.
        let costs = table(5, &[(Layout::Bitstream, 9.0), (Layout::Duos, 1.0)]);
        let (less, more) = (dense(20, 10, 5), dense(32, 10, 5));
        let target = Target { class: CoreClass::ArmV7m, percent_at_most: 25 };
        assert_eq!(choose(&[less, more], target, Some(&costs)), [Layout::Bitstream, Layout::Duos]);
        assert_eq!(choose(&[more, less], target, Some(&costs)), [Layout::Duos, Layout::Bitstream]);
        assert_eq!(choose(&[], target, Some(&costs)), []);
    }
}
