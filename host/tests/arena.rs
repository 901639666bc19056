//! The arenas of the zoo's networks, as the packer really plans them, are as small as they can be.
#![allow(clippy::unwrap_used, missing_docs)]

use releq::bench::random_network;
use releq::network::zoo;
use releq::pack::CoreClass;
use releq::pack::plan::{Lifetime, lower_bound};
use releq_shared::blob::{AlignedCopy, Blob, Op, Tensor};

/// The lifetimes of a blob's tensors, from its operations alone.
fn lifetimes(blob: &Blob<'_>) -> Vec<Lifetime> {
    let mut tensors: Vec<(Tensor, Lifetime)> = Vec::new();
    let born = |tensor: &Tensor, first| {
        (*tensor, Lifetime { bytes: tensor.bytes() as usize, first, last: first, in_place_of: Vec::new() })
    };
    tensors.push(born(&blob.header().input, 0));
    for (index, op) in blob.ops().enumerate() {
        let mut read = Vec::new();
        for input in op.inputs() {
            // The last one written there is meant.
            let place = tensors.iter().rposition(|(tensor, _)| tensor == input).unwrap();
            tensors[place].1.last = index;
            read.push(place);
        }
        let mut output = born(op.output(), index);
        if matches!(op, Op::Add(_)) {
            output.1.in_place_of = read;
        }
        tensors.push(output);
    }
    tensors.into_iter().map(|(_, lifetime)| lifetime).collect()
}

#[test]
fn every_arena_of_the_zoo_is_within_five_percent_of_the_lower_bound() {
    for name in zoo::NAMES {
        let model = random_network(name, &"2".parse().unwrap(), CoreClass::ArmV7em, 1).unwrap();
        let model = AlignedCopy::new(&model);
        let blob = Blob::new_checked(&model).unwrap();
        let (found, least) = (u64::from(blob.header().arena_bytes), lower_bound(&lifetimes(&blob)) as u64);
        println!("{name}: {found} bytes, lower bound {least}");
        assert!(found >= least, "{name}: {found} bytes cannot be less than {least}");
        assert!(found * 100 <= least * 105, "{name}: {found} bytes, the lower bound is {least}");
    }
}
