//! The arena planner: a place for every activation tensor, so that tensors that live at the same time never overlap.
//!
//! A tensor lives from the operation that writes it to the last one that reads it. The planner tries first-fit
//! placement under several orders (largest first, longest first, by birth) and keeps the smallest arena; on the networks
//! of the zoo that meets the lower bound, the largest sum of bytes alive at one operation, or comes close to it
//! (the tests say how close).

/// A tensor to be placed: its bytes and the operations during which it must keep its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Bytes.
    pub bytes: usize,
    /// Index of the operation that writes it (0 for the network's input).
    pub first: usize,
    /// Index of the last operation that reads it.
    pub last: usize,
}

/// Places in the arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArenaPlan {
    /// First byte of each tensor, a multiple of [`PLACE_ALIGNMENT`].
    pub offsets: Vec<usize>,
    /// Bytes of the arena.
    pub bytes: usize,
}

/// Tensors start at multiples of this: kernels may load whole words.
pub const PLACE_ALIGNMENT: usize = 4;

impl Lifetime {
    fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    fn padded(&self) -> usize {
        self.bytes.next_multiple_of(PLACE_ALIGNMENT)
    }
}

/// The largest sum of bytes alive at any one operation: no arena can be smaller.
#[must_use]
pub fn lower_bound(tensors: &[Lifetime]) -> usize {
    let alive_at = |op| tensors.iter().filter(|t| (t.first..=t.last).contains(&op)).map(Lifetime::padded).sum();
    tensors.iter().map(|tensor| alive_at(tensor.first)).max().unwrap_or(0)
}

/// Places all tensors.
#[must_use]
pub fn plan(tensors: &[Lifetime]) -> ArenaPlan {
    let by = |key: fn(&Lifetime) -> (usize, usize)| {
        let mut order: Vec<usize> = (0..tensors.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(key(&tensors[i])));
        order
    };
    let orders = [
        by(|t| (t.bytes, t.last - t.first)),
        by(|t| (t.last - t.first, t.bytes)),
        by(|t| (usize::MAX - t.first, t.bytes)),
        by(|t| (t.last, t.bytes)),
    ];
    let plans = orders.iter().map(|order| place_in_order(tensors, order));
    plans.min_by_key(|plan| plan.bytes).unwrap_or(ArenaPlan { offsets: Vec::new(), bytes: 0 })
}

/// Gives each tensor in turn the lowest place that is free during its whole life.
fn place_in_order(tensors: &[Lifetime], order: &[usize]) -> ArenaPlan {
    let mut offsets = vec![0; tensors.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut bytes = 0;
    for &index in order {
        let tensor = &tensors[index];
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&other| tensors[other].overlaps(tensor))
            .map(|&other| (offsets[other], offsets[other] + tensors[other].padded()))
            .collect();
        taken.sort_unstable();
        let mut offset = 0;
        for (start, end) in taken {
            if offset + tensor.padded() <= start {
                break;
            }
            offset = offset.max(end);
        }
        offsets[index] = offset;
        bytes = bytes.max(offset + tensor.padded());
        placed.push(index);
    }
    ArenaPlan { offsets, bytes }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lifetimes() -> impl Strategy<Value = Vec<Lifetime>> {
        let one = (1usize..5000, 0usize..20, 0usize..6);
        proptest::collection::vec(
            one.prop_map(|(bytes, first, len)| Lifetime { bytes, first, last: first + len }),
            1..24,
        )
    }

    proptest! {
        #[test]
        fn tensors_alive_together_never_overlap(tensors in lifetimes()) {
            let plan = plan(&tensors);
            prop_assert!(plan.bytes >= lower_bound(&tensors));
            for (i, a) in tensors.iter().enumerate() {
                prop_assert_eq!(plan.offsets[i] % PLACE_ALIGNMENT, 0);
                prop_assert!(plan.offsets[i] + a.bytes <= plan.bytes);
                for (j, b) in tensors.iter().enumerate().skip(i + 1) {
                    let apart = plan.offsets[i] + a.bytes <= plan.offsets[j] || plan.offsets[j] + b.bytes <= plan.offsets[i];
                    prop_assert!(apart || !a.overlaps(b), "{i} and {j} overlap");
                }
            }
        }
    }

    #[test]
    fn a_chain_needs_only_its_largest_pair() {
        // LeNet with fused pooling: input, pool1, pool2, fc1, logits.
        let chain: Vec<Lifetime> = [784, 2880, 800, 500, 40]
            .iter()
            .enumerate()
            .map(|(i, &bytes)| Lifetime { bytes, first: i.saturating_sub(1), last: i })
            .collect();
        assert_eq!(plan(&chain).bytes, 2880 + 800);
        assert_eq!(lower_bound(&chain), 2880 + 800);
    }
}
