//! The arena planner: a place for every activation tensor, so that tensors that live at the same time never overlap.
//!
//! A tensor lives from the operation that writes it to the last one that reads it. A sum may be written to the very place
//! of a summand that nothing reads later: both are then one block. All ways to choose such summands are tried where they
//! are few, and each way's blocks are placed as tightly as `placement` can. On every network of the zoo the
//! outcome is the lower bound, the largest sum of bytes alive at one operation (a test holds it within 5% of that).

use super::placement::{Block, Placement, place};

/// A tensor to be placed: its bytes and the operations during which it must keep its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Bytes.
    pub bytes: usize,
    /// Index of the operation that writes it (0 for the network's input).
    pub first: usize,
    /// Index of the last operation that reads it.
    pub last: usize,
    /// Tensors in whose very place it may be written, if they have its size and end where it starts.
    pub in_place_of: Vec<usize>,
}

/// Places in the arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArenaPlan {
    /// First byte of each tensor, a multiple of [`PLACE_ALIGNMENT`].
    pub offsets: Vec<usize>,
    /// Bytes of the arena.
    pub bytes: usize,
    /// Whether it is known that no arena is smaller.
    pub optimal: bool,
}

/// Tensors start at multiples of this: kernels may load whole words.
pub const PLACE_ALIGNMENT: usize = 4;
/// Ways to put sums in place that are all tried; where there are more, a few are.
const WAYS_AT_MOST: usize = 81;

impl Lifetime {
    fn padded(&self) -> usize {
        self.bytes.next_multiple_of(PLACE_ALIGNMENT)
    }
}

/// The tensors in whose place tensor `index` can really be written.
fn replaceable(tensors: &[Lifetime], index: usize) -> Vec<usize> {
    let tensor = &tensors[index];
    let fits = |other: &Lifetime| {
        other.padded() == tensor.padded() && other.last == tensor.first && other.first < tensor.first
    };
    let mut found: Vec<usize> = tensor.in_place_of.iter().copied().filter(|&other| fits(&tensors[other])).collect();
    found.dedup();
    found
}

/// The largest sum of bytes alive at any one operation, those written in place counted once: no arena can be smaller.
#[must_use]
pub fn lower_bound(tensors: &[Lifetime]) -> usize {
    let alive_at = |op: usize| -> usize {
        let counts = |(index, tensor): &(usize, &Lifetime)| {
            let in_place = tensor.first == op && !replaceable(tensors, *index).is_empty();
            (tensor.first..=tensor.last).contains(&op) && !in_place
        };
        tensors.iter().enumerate().filter(counts).map(|(_, tensor)| tensor.padded()).sum()
    };
    tensors.iter().map(|tensor| alive_at(tensor.first)).max().unwrap_or(0)
}

/// Places all tensors.
#[must_use]
pub fn plan(tensors: &[Lifetime]) -> ArenaPlan {
    let bound = lower_bound(tensors);
    let options: Vec<Vec<usize>> = (0..tensors.len()).map(|index| replaceable(tensors, index)).collect();
    let (ways, all_tried) = ways(&options);
    let mut best = ArenaPlan { offsets: Vec::new(), bytes: usize::MAX, optimal: false };
    let mut each_optimal = all_tried;
    for way in ways {
        let (blocks, block_of) = merge(tensors, &way);
        let Placement { offsets, bytes, optimal } = place(&blocks);
        each_optimal &= optimal;
        if bytes < best.bytes {
            best = ArenaPlan { offsets: block_of.iter().map(|&block| offsets[block]).collect(), bytes, optimal: false };
        }
        if best.bytes == bound {
            break;
        }
    }
    best.optimal = best.bytes == bound || each_optimal;
    best
}

/// Ways to put tensors in the place of others, the tensor replaced or none for each, and whether these are all ways.
fn ways(options: &[Vec<usize>]) -> (Vec<Vec<Option<usize>>>, bool) {
    let count = options.iter().try_fold(1usize, |ways, options| ways.checked_mul(options.len() + 1));
    match count {
        Some(count) if count <= WAYS_AT_MOST => {
            let way = |mut number: usize| {
                let mut choose = |options: &Vec<usize>| {
                    let choice = options.get(number % (options.len() + 1)).copied();
                    number /= options.len() + 1;
                    choice
                };
                options.iter().map(&mut choose).collect()
            };
            ((0..count).map(way).collect(), true)
        }
        _ => {
            // All in the place of the first they can take, all of the last, and none in place.
            let first = options.iter().map(|options| options.first().copied()).collect();
            let last = options.iter().map(|options| options.last().copied()).collect();
            (vec![first, last, vec![None; options.len()]], false)
        }
    }
}

/// The blocks that tensors form if each takes the place of the one chosen for it, and each tensor's block. A place is taken
/// once only.
fn merge(tensors: &[Lifetime], way: &[Option<usize>]) -> (Vec<Block>, Vec<usize>) {
    let mut by_birth: Vec<usize> = (0..tensors.len()).collect();
    by_birth.sort_by_key(|&index| tensors[index].first);
    let mut blocks: Vec<Block> = Vec::new();
    let mut block_of = vec![0; tensors.len()];
    for index in by_birth {
        let Lifetime { first, last, .. } = tensors[index];
        // Whoever is replaced was born earlier, so it has its block already.
        block_of[index] = match way[index].map(|replaced| block_of[replaced]) {
            Some(block) if blocks[block].last == first => {
                blocks[block].last = last;
                block
            }
            _ => {
                blocks.push(Block { bytes: tensors[index].padded(), first, last });
                blocks.len() - 1
            }
        };
    }
    (blocks, block_of)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tensor(bytes: usize, first: usize, last: usize, in_place_of: &[usize]) -> Lifetime {
        Lifetime { bytes, first, last, in_place_of: in_place_of.to_vec() }
    }

    fn lifetimes() -> impl Strategy<Value = Vec<Lifetime>> {
        let one = (1usize..5000, 0usize..20, 0usize..6, proptest::collection::vec(0usize..24, 0..2));
        let tensors = proptest::collection::vec(one, 1..24);
        tensors.prop_map(|tensors| {
            let count = tensors.len();
            let tensors = tensors.into_iter().map(|(bytes, first, len, others)| {
                // Few sizes, so that some tensors can take others' places.
                let others: Vec<usize> = others.into_iter().map(|other| other % count).collect();
                tensor(bytes / 1000 * 1000 + 1, first, first + len, &others)
            });
            tensors.collect()
        })
    }

    proptest! {
        #[test]
        fn tensors_alive_together_never_overlap(tensors in lifetimes()) {
            let plan = plan(&tensors);
            prop_assert!(plan.bytes >= lower_bound(&tensors));
            for (i, a) in tensors.iter().enumerate() {
                prop_assert_eq!(plan.offsets[i] % PLACE_ALIGNMENT, 0);
                prop_assert!(plan.offsets[i] + a.bytes <= plan.bytes);
                for (j, b) in tensors.iter().enumerate().filter(|&(j, _)| j != i) {
                    let apart = plan.offsets[i] + a.bytes <= plan.offsets[j] || plan.offsets[j] + b.bytes <= plan.offsets[i];
                    let together = a.first <= b.last && b.first <= a.last;
                    let in_place = plan.offsets[i] == plan.offsets[j]
                        && (replaceable(&tensors, i).contains(&j) || replaceable(&tensors, j).contains(&i));
                    prop_assert!(apart || !together || in_place, "{} and {} overlap", i, j);
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
            .map(|(i, &bytes)| tensor(bytes, i.saturating_sub(1), i, &[]))
            .collect();
        assert_eq!(plan(&chain).bytes, 2880 + 800);
        assert_eq!(lower_bound(&chain), 2880 + 800);
        assert!(plan(&chain).optimal);
    }

    #[test]
    fn a_sum_takes_the_place_of_a_summand_that_ends_with_it() {
        // Two tensors, their sum, and what reads the sum: three at once only if the sum had a place of its own.
        let sum = [tensor(100, 0, 2, &[]), tensor(100, 1, 2, &[]), tensor(100, 2, 3, &[1, 0]), tensor(8, 3, 4, &[])];
        assert_eq!((plan(&sum).bytes, lower_bound(&sum)), (200, 200));
        let plan_of_sum = plan(&sum);
        assert!(plan_of_sum.offsets[2] == plan_of_sum.offsets[0] || plan_of_sum.offsets[2] == plan_of_sum.offsets[1]);
        // Not in the place of one that is read again.
        let kept = [tensor(100, 0, 3, &[]), tensor(100, 1, 3, &[]), tensor(100, 2, 3, &[1, 0]), tensor(8, 3, 4, &[])];
        assert_eq!((plan(&kept).bytes, lower_bound(&kept)), (308, 308));
    }
}
