//! Places for blocks of memory that are in use at known times, so that blocks in use together lie apart.
//!
//! First fit in four orders gives a start, which on most networks is already as small as the sum of bytes in use at one
//! time. Where it is not, a branch and bound looks for better: in any solution whose blocks cannot move down, taken by
//! rising offset, each block lies right upon those before it that are in use with it, so orders of blocks are all there
//! is to try. It stops after [`NODES_AT_MOST`] steps, which small networks do not reach, and then is exact.

/// A block to be placed: its bytes and the operations, first to last, during which it is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) bytes: usize,
    pub(super) first: usize,
    pub(super) last: usize,
}

/// Where blocks lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) offsets: Vec<usize>,
    /// The end of the last one.
    pub(super) bytes: usize,
    /// Whether no placement is smaller.
    pub(super) optimal: bool,
}

/// Steps of the branch and bound.
const NODES_AT_MOST: usize = 200_000;

impl Block {
    fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// The largest sum of bytes in use at any one operation: nothing can be smaller.
pub(super) fn lower_bound(blocks: &[Block]) -> usize {
    let used_at = |op: usize| -> usize {
        let used = blocks.iter().filter(|block| (block.first..=block.last).contains(&op));
        used.map(|block| block.bytes).sum()
    };
    blocks.iter().map(|block| used_at(block.first)).max().unwrap_or(0)
}

/// Places all blocks.
pub(super) fn place(blocks: &[Block]) -> Placement {
    let by = |key: fn(&Block) -> (usize, usize)| {
        let mut order: Vec<usize> = (0..blocks.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(key(&blocks[i])));
        order
    };
    let orders = [
        by(|block| (block.bytes, block.last - block.first)),
        by(|block| (block.last - block.first, block.bytes)),
        by(|block| (usize::MAX - block.first, block.bytes)),
        by(|block| (block.last, block.bytes)),
    ];
    let started = orders.iter().map(|order| first_fit(blocks, order)).min_by_key(|placement| placement.bytes);
    let best = started.unwrap_or(Placement { offsets: Vec::new(), bytes: 0, optimal: true });
    let bound = lower_bound(blocks);
    if best.bytes == bound {
        return Placement { optimal: true, ..best };
    }
    let ops = blocks.iter().map(|block| block.last + 1).max().unwrap_or(0);
    let mut waiting = vec![0; ops];
    for block in blocks {
        waiting[block.first..=block.last].iter_mut().for_each(|bytes| *bytes += block.bytes);
    }
    let offsets = vec![None; blocks.len()];
    let mut search = Search { blocks, bound, best, offsets, tops: vec![0; ops], waiting, nodes: 0 };
    search.descend((0, 0), 0);
    Placement { optimal: search.best.bytes == bound || search.nodes < NODES_AT_MOST, ..search.best }
}

/// Gives each block in turn the lowest place that is free during its whole life.
fn first_fit(blocks: &[Block], order: &[usize]) -> Placement {
    let mut offsets = vec![0; blocks.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut bytes = 0;
    for &index in order {
        let block = &blocks[index];
        let together = placed.iter().filter(|&&other| blocks[other].overlaps(block));
        let mut taken: Vec<(usize, usize)> =
            together.map(|&other| (offsets[other], offsets[other] + blocks[other].bytes)).collect();
        taken.sort_unstable();
        let mut offset = 0;
        for (start, end) in taken {
            if offset + block.bytes <= start {
                break;
            }
            offset = offset.max(end);
        }
        offsets[index] = offset;
        bytes = bytes.max(offset + block.bytes);
        placed.push(index);
    }
    Placement { offsets, bytes, optimal: false }
}

/// The branch and bound: blocks are placed by rising (offset, index).
struct Search<'a> {
    blocks: &'a [Block],
    bound: usize,
    best: Placement,
    offsets: Vec<Option<usize>>,
    /// By operation: the end of the highest block placed.
    tops: Vec<usize>,
    /// By operation: bytes of the blocks not placed yet.
    waiting: Vec<usize>,
    nodes: usize,
}

impl Search<'_> {
    /// Places one more block, at `floor` or behind it, in every way that could still be better than the best.
    fn descend(&mut self, floor: (usize, usize), placed: usize) {
        if placed == self.blocks.len() {
            let offsets = self.offsets.iter().map(|offset| offset.unwrap_or(0)).collect();
            self.best = Placement { offsets, bytes: self.tops.iter().copied().max().unwrap_or(0), optimal: false };
            return;
        }
        let mut next: Vec<(usize, usize)> = Vec::new();
        for (index, block) in self.blocks.iter().enumerate().filter(|(index, _)| self.offsets[*index].is_none()) {
            let offset = self.tops[block.first..=block.last].iter().copied().max().unwrap_or(0);
            if (offset, index) >= floor {
                next.push((offset, index));
            }
        }
        next.sort_by_key(|&(offset, index)| (offset, usize::MAX - self.blocks[index].bytes));
        for (offset, index) in next {
            if self.nodes >= NODES_AT_MOST || self.best.bytes == self.bound {
                return;
            }
            self.nodes += 1;
            let Block { bytes, first, last } = self.blocks[index];
            let covered = self.tops[first..=last].to_vec();
            self.tops[first..=last].fill(offset + bytes);
            self.waiting[first..=last].iter_mut().for_each(|waiting| *waiting -= bytes);
            self.offsets[index] = Some(offset);
            // What waits lies upon what is placed, and not below this block.
            let reached = self.tops.iter().zip(&self.waiting).map(|(&top, &waiting)| match waiting {
                0 => top,
                _ => top.max(offset) + waiting,
            });
            if reached.max().unwrap_or(0) < self.best.bytes {
                self.descend((offset, index), placed + 1);
            }
            self.offsets[index] = None;
            self.waiting[first..=last].iter_mut().for_each(|waiting| *waiting += bytes);
            self.tops[first..=last].copy_from_slice(&covered);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn blocks(most: usize) -> impl Strategy<Value = Vec<Block>> {
        let one = (1usize..50, 0usize..8, 0usize..5);
        proptest::collection::vec(
            one.prop_map(|(bytes, first, len)| Block { bytes, first, last: first + len }),
            1..=most,
        )
    }

    /// The best of first fit in every order: one of them is a solution's order of offsets, so this is exact.
    fn by_all_orders(blocks: &[Block]) -> usize {
        fn permute(blocks: &[Block], order: &mut Vec<usize>, best: &mut usize) {
            if order.len() == blocks.len() {
                *best = first_fit(blocks, order).bytes.min(*best);
            }
            for index in 0..blocks.len() {
                if !order.contains(&index) {
                    order.push(index);
                    permute(blocks, order, best);
                    order.pop();
                }
            }
        }
        let mut best = usize::MAX;
        permute(blocks, &mut Vec::new(), &mut best);
        best
    }

    proptest! {
        #[test]
        fn small_placements_are_the_smallest(blocks in blocks(6)) {
            let placement = place(&blocks);
            prop_assert!(placement.optimal);
            prop_assert_eq!(placement.bytes, by_all_orders(&blocks));
        }

        #[test]
        fn blocks_in_use_together_lie_apart(blocks in blocks(24)) {
            let Placement { offsets, bytes, .. } = place(&blocks);
            prop_assert!(bytes >= lower_bound(&blocks));
            for (i, a) in blocks.iter().enumerate() {
                prop_assert!(offsets[i] + a.bytes <= bytes);
                for (j, b) in blocks.iter().enumerate().skip(i + 1) {
                    let apart = offsets[i] + a.bytes <= offsets[j] || offsets[j] + b.bytes <= offsets[i];
                    prop_assert!(apart || !a.overlaps(b), "{} and {} overlap", i, j);
                }
            }
        }
    }
}
