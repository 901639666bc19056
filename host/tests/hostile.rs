//! Blobs made to do harm, on the engine as the host compiles it: each is refused, or runs within its bounds and answers what it
//! means.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::panic::catch_unwind;

use releq_firmware::engine::{Engine, required_arena};
use releq_firmware::kernels::CoreClass;
use releq_firmware::random::Random;
use releq_firmware::testing::{self, hostile, oracle};
use releq_shared::Bitwidth;
use releq_shared::blob::{AlignedCopy, Blob, BlobError};

/// A board refuses what needs more; nothing here should fill this machine's memory.
const ARENA_MAX: usize = 1 << 20;
/// Only the time of a test sets this bound: such networks are sound.
const MACS_MAX: u64 = 3_000_000;
/// What lies on both sides of the arena and must stay as it is.
const GUARD: usize = 64;

/// What became of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Refused,
    TooLarge,
    TooLong,
    Ran,
}

fn input(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Random::new(seed).fill(&mut bytes, u8::MAX);
    bytes
}

/// Loads and, if it is accepted, runs a blob as a board would; every `compared` one is compared with the oracle.
fn meet(blob: &AlignedCopy, seed: u64, compared: u64) -> (Fate, Option<BlobError>) {
    let blob = match Blob::new_checked(blob) {
        Ok(blob) => blob,
        Err(error) => return (Fate::Refused, Some(error)),
    };
    let needed = required_arena(&blob);
    if needed > ARENA_MAX {
        return (Fate::TooLarge, None);
    }
    if blob.ops().map(|op| op.macs()).sum::<u64>() > MACS_MAX {
        return (Fate::TooLong, None);
    }
    let mut memory = AlignedCopy::new(&vec![0x5A; GUARD + needed + GUARD]);
    let mut engine = Engine::new(blob, &mut memory[GUARD..GUARD + needed]).unwrap();
    let input = input(engine.input_mut().len(), seed);
    engine.input_mut().copy_from_slice(&input);
    engine.run(&mut ());
    let logits = engine.output().to_vec();
    assert!(memory[..GUARD].iter().chain(&memory[GUARD + needed..]).all(|&byte| byte == 0x5A), "outside its arena");
    if seed.is_multiple_of(compared) {
        assert_eq!(logits, oracle::run(&blob, &input), "another answer than the format's formulas");
    }
    (Fate::Ran, None)
}

/// Meets `count` changes of each of these blobs, and counts what became of them and why they were refused.
fn meet_all(sound: &[(u64, Vec<u8>)], count: u64, compared: u64) -> (BTreeMap<Fate, u64>, BTreeMap<String, u64>) {
    let (mut fates, mut reasons) = (BTreeMap::new(), BTreeMap::new());
    for (network, sound) in sound {
        for round in 0..count {
            let seed = network * 1_000_000 + round;
            let met = catch_unwind(|| meet(&hostile::mutate(sound, seed), seed, compared));
            let (fate, reason) = met.unwrap_or_else(|_| panic!("network {network}, changed by seed {seed}"));
            *fates.entry(fate).or_default() += 1;
            if let Some(reason) = reason {
                let text = format!("{reason:?}");
                let kind = text.split("problem: ").last().unwrap_or_default();
                let name = kind.split([' ', '(', '{', '}']).next().unwrap_or_default().to_owned();
                *reasons.entry(name).or_default() += 1;
            }
        }
    }
    (fates, reasons)
}

#[test]
fn a_hundred_thousand_hostile_blobs_are_refused_or_run_within_bounds() {
    let network = |seed| (seed, testing::random_network(seed, testing::Limits::default()));
    let networks: Vec<(u64, Vec<u8>)> = (0..100).map(network).collect();
    let halves: Vec<&[(u64, Vec<u8>)]> = networks.chunks(networks.len() / 2).collect();
    let both = std::thread::scope(|scope| {
        let threads: Vec<_> = halves.iter().map(|half| scope.spawn(|| meet_all(half, 1050, 8))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let total = |fate: Fate| both.iter().filter_map(|(fates, _)| fates.get(&fate)).sum::<u64>();
    let kinds: std::collections::BTreeSet<&String> = both.iter().flat_map(|(_, reasons)| reasons.keys()).collect();
    let (refused, ran) = (total(Fate::Refused), total(Fate::Ran));
    println!("refused {refused}, ran {ran}, too large {}, too long {}", total(Fate::TooLarge), total(Fate::TooLong));
    println!("reasons: {kinds:?}");
    // Both sides of the check are reached, and nearly every reason there is.
    assert!(refused > 50_000 && ran > 5_000, "refused {refused}, ran {ran}");
    assert!(kinds.len() > 20, "only {kinds:?}");
}

#[test]
fn hostile_forms_of_lenet_are_refused_or_run_within_bounds() {
    let bits = |bits: [u8; 4]| bits.map(|bits| Bitwidth::new(bits).unwrap());
    let classes = [CoreClass::ArmV6m, CoreClass::ArmV7em, CoreClass::ArmV81mMve];
    let networks: Vec<(u64, Vec<u8>)> = (0..)
        .zip(classes)
        .flat_map(|(index, class)| {
            [(2 * index, [1; 4]), (2 * index + 1, [2, 3, 2, 4])]
                .map(|(index, each)| (index, testing::lenet(bits(each), class, 1)))
        })
        .collect();
    let (fates, _) = meet_all(&networks, 60, 16);
    println!("{fates:?}");
    assert!(fates[&Fate::Refused] > 150 && fates[&Fate::Ran] > 50, "{fates:?}");
}
