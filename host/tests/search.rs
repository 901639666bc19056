//! The search as a whole, on imaginary accuracies.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use releq::pack::costs::LayerKind;
use releq::search::imaginary::ImaginaryOracle;
use releq::search::*;

fn layers(count: usize) -> Vec<LayerFacts> {
    let layer = |i: usize| LayerFacts {
        name: format!("layer{i}"),
        out_channels: 10 * (i + 1),
        in_channels: 5 * (i + 1),
        kernel: 5 - i % 3,
        kind: LayerKind::Convolution,
        weights: 500 * 7u64.pow(i as u32 % 4),
        macs: 100_000,
        weight_std: 0.1 / (i + 1) as f64,
    };
    (0..count).map(layer).collect()
}

fn search(config: &SearchConfig, oracle: &mut ImaginaryOracle, seed: u64) -> SearchOutcome {
    run(config, &layers(4), oracle, seed, None, &mut |_, _| ControlFlow::Continue(())).unwrap()
}

/// Episodes within which the agent must have found the optimum of the imaginary environments.
const EPISODES: usize = 240;

fn config() -> SearchConfig {
    let reward = Reward::Constraint { max_loss_points: 0.5 };
    // The agent by itself: nothing polishes its choice.
    SearchConfig { episodes: EPISODES, reward, polish: false, ..SearchConfig::default() }
}

#[test]
fn the_agent_finds_the_floor_where_accuracy_is_free() {
    for seed in 0..5 {
        let outcome = search(&config(), &mut ImaginaryOracle::linear(0.0, 1.0), seed);
        assert_eq!(outcome.best.bits.to_string(), "1,1,1,1", "seed {seed}");
        assert_eq!(outcome.greedy.bits.to_string(), "1,1,1,1", "the policy itself, seed {seed}");
    }
}

/// The same where the optimum is one of 625, with no slope but that of the cost up to its very edge.
const EPISODES_WHERE_LAYERS_DIFFER: usize = 640;

#[test]
fn the_agent_finds_the_optimum_where_layers_differ() {
    let config = SearchConfig { episodes: EPISODES_WHERE_LAYERS_DIFFER, ..config() };
    for seed in 0..5 {
        let outcome = search(&config, &mut ImaginaryOracle::per_layer(vec![2, 1, 3, 1], 1.0), seed);
        assert_eq!(outcome.best.bits.to_string(), "2,1,3,1", "seed {seed}");
    }
}

#[test]
fn polishing_finishes_what_few_episodes_began() {
    let config = SearchConfig { episodes: 40, polish: true, ..config() };
    for seed in 0..5 {
        let outcome = search(&config, &mut ImaginaryOracle::per_layer(vec![2, 1, 3, 1], 1.0), seed);
        assert_eq!(outcome.best.bits.to_string(), "2,1,3,1", "seed {seed}, from {}", outcome.by_agent.bits);
        assert!(outcome.by_agent.reward <= outcome.best.reward);
    }
}

#[test]
fn the_agent_meets_the_bound_of_a_linear_landscape() {
    for seed in 0..5 {
        // Full accuracy from a mean of 2.5 bits on.
        let outcome = search(&config(), &mut ImaginaryOracle::linear(3.2, 0.0), seed);
        assert!(outcome.best.accepted && outcome.best.bits.mean_bits() <= 2.5, "seed {seed}: {}", outcome.best.bits);
    }
}

#[test]
fn nothing_is_evaluated_twice() {
    let mut oracle = ImaginaryOracle::per_layer(vec![2, 1, 3, 1], 1.0);
    let outcome = search(&config(), &mut oracle, 3);
    assert_eq!(oracle.asked, outcome.evaluated.len());
    assert!(oracle.asked < EPISODES);
}

#[test]
fn pinned_layers_keep_their_bits() {
    let pinned = BTreeMap::from([("layer0".to_owned(), 8), ("layer3".to_owned(), 5)]);
    let outcome = search(&SearchConfig { pinned, ..config() }, &mut ImaginaryOracle::linear(0.0, 1.0), 1);
    assert!(outcome.evaluated.iter().all(|e| (e.bits.0[0].get(), e.bits.0[3].get()) == (8, 5)));
    assert_eq!(outcome.best.bits.to_string(), "8,1,1,5");
}

#[test]
fn settings_without_sense_are_refused() {
    let refuse = |config: SearchConfig| {
        let mut oracle = ImaginaryOracle::linear(0.0, 1.0);
        run(&config, &layers(4), &mut oracle, 1, None, &mut |_, _| ControlFlow::Continue(())).unwrap_err().to_string()
    };
    assert!(refuse(SearchConfig { actions: ActionSet::List(vec![0]), ..config() }).contains("0 is no bitwidth"));
    assert!(refuse(SearchConfig { actions: ActionSet::List(vec![]), ..config() }).contains("no bitwidth to choose"));
    let pinned = BTreeMap::from([("layer9".to_owned(), 8)]);
    assert!(refuse(SearchConfig { pinned, ..config() }).contains("did you mean"));
}

#[test]
fn a_search_that_was_stopped_goes_on_as_if_nothing_had_happened() {
    let config = SearchConfig { episodes: 48, ..config() };
    let oracle = || ImaginaryOracle::per_layer(vec![2, 1, 3, 1], 1.0);
    let straight = search(&config, &mut oracle(), 7);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("search.checkpoint");
    let stopped = run(&config, &layers(4), &mut oracle(), 7, None, &mut |event, checkpoint| {
        checkpoint.save(&path).unwrap();
        if event.episodes >= 24 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(stopped, Err(SearchError::Stopped)));
    let checkpoint = SearchCheckpoint::load(&path).unwrap();
    assert_eq!(checkpoint.episodes, 24);
    let go_on = &mut |_: &SearchEvent, _: &SearchCheckpoint| ControlFlow::Continue(());
    let resumed = run(&config, &layers(4), &mut oracle(), 7, Some(&checkpoint), go_on).unwrap();
    assert_eq!(resumed, straight);
    let other = SearchConfig { batch: 3, ..config };
    let refused = run(&other, &layers(4), &mut oracle(), 7, Some(&checkpoint), go_on);
    assert!(matches!(refused, Err(SearchError::Checkpoint(_))));
}

#[test]
fn a_damaged_checkpoint_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("search.checkpoint");
    std::fs::write(&path, b"rubbish").unwrap();
    assert!(SearchCheckpoint::load(&path).unwrap_err().to_string().contains("is damaged"));
}

/// Fails on everything but the highest bits.
struct Diverging;

impl AccuracyOracle for Diverging {
    fn evaluate(&mut self, assignments: &[Assignment]) -> Result<Vec<Evaluation>, OracleError> {
        let answer = |a: &Assignment| Evaluation {
            accuracy: if a.mean_bits() > 3.0 { 1.0 } else { f64::NAN },
            diverged: false,
            seconds: 0.0,
        };
        Ok(assignments.iter().map(answer).collect())
    }

    fn float_accuracy(&self) -> f64 {
        1.0
    }
}

#[test]
fn diverged_fine_tunes_are_failures_not_crashes() {
    let go_on = &mut |_: &SearchEvent, _: &SearchCheckpoint| ControlFlow::Continue(());
    let outcome = run(&config(), &layers(4), &mut Diverging, 1, None, go_on).unwrap();
    assert!(outcome.best.bits.mean_bits() > 3.0);
    assert!(outcome.evaluated.iter().filter(|e| e.bits.mean_bits() <= 3.0).all(|e| !e.accepted));
}

#[test]
fn events_become_lines_of_json() {
    let mut lines = 0;
    run(&config(), &layers(4), &mut ImaginaryOracle::linear(0.0, 1.0), 1, None, &mut |event, _| {
        let line = serde_json::to_string(event).unwrap();
        assert_eq!(serde_json::from_str::<SearchEvent>(&line).unwrap().episodes, event.episodes);
        lines += 1;
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(lines, EPISODES / config().batch);
}

#[test]
fn the_lstm_state_is_carried_through_an_episode() {
    let agent = Agent::new(2, 3, true, 1).unwrap();
    let zero = LstmState::zero(1).unwrap();
    let states = |x: f32| vec![vec![x, 0.5]];
    let (_, _, _, _, carried) = agent.act(&states(0.9), &zero, None).unwrap();
    let (_, _, value_carried, with, _) = agent.act(&states(0.1), &carried, None).unwrap();
    let (_, _, value_reset, without, _) = agent.act(&states(0.1), &zero, None).unwrap();
    assert_ne!(with, without, "the state of the first step must change the second");
    assert_ne!(value_carried, value_reset);
}

#[test]
fn baselines_keep_to_their_budget_and_find_what_they_can() {
    let needed = || ImaginaryOracle::per_layer(vec![2, 1, 3, 1], 1.0);
    let found = |kind, budget| baseline(kind, &config(), &layers(4), &mut needed(), 1, budget).unwrap();
    let uniform = found(Baseline::Uniform, 100);
    assert_eq!((uniform.best.bits.to_string().as_str(), uniform.evaluations), ("3,3,3,3", 5));
    let greedy = found(Baseline::Greedy, 100);
    assert_eq!(greedy.best.bits.to_string(), "2,1,3,1", "nothing misleads greed here");
    assert!(found(Baseline::Greedy, 12).evaluations <= 12);
    let random = found(Baseline::Random, 50);
    assert_eq!(random.evaluations, 50);
    assert_eq!(random, found(Baseline::Random, 50), "chance follows from the seed");
    let everything = found(Baseline::Exhaustive, 1);
    assert_eq!((everything.best.bits.to_string().as_str(), everything.evaluations), ("2,1,3,1", 625));
    let five = baseline(Baseline::Exhaustive, &config(), &layers(5), &mut needed(), 1, 1).unwrap_err();
    assert!(five.to_string().contains("3125 assignments are too many"), "{five}");
}

#[test]
fn a_comparison_gives_every_method_what_the_search_had_and_asks_nothing_twice() {
    let mut imaginary = ImaginaryOracle::per_layer(vec![2, 1, 3, 1], 1.0);
    let config = SearchConfig { episodes: 40, polish: true, ..config() };
    let comparison = {
        let mut oracle = Remembering::new(&mut imaginary);
        releq::stages::methods(&config, &layers(4), &mut oracle, 1, 2, true, &mut |_, _| ()).unwrap()
    };
    assert!(imaginary.asked <= 625, "every assignment at most once: {}", imaginary.asked);
    let names: Vec<&str> = comparison.methods.iter().map(|method| method.method.as_str()).collect();
    assert_eq!(names, ["releq", "uniform", "random", "greedy", "exhaustive"]);
    for method in &comparison.methods[..4] {
        assert!(method.evaluations.iter().zip(&comparison.budgets).all(|(used, budget)| used <= budget));
    }
    let best = &comparison.methods[4];
    assert_eq!((best.mean_bits.mean, best.mean_bits.deviation), (1.75, 0.0));
    assert!(comparison.winner().unwrap().reward.mean >= best.reward.mean - 1e-12);
}

#[test]
fn restricted_actions_and_rewards_at_every_step_find_the_floor_too() {
    for (space, timing) in [
        (ActionSpace::Restricted, Timing::Episode),
        (ActionSpace::Flexible, Timing::Step),
        (ActionSpace::Restricted, Timing::Step),
    ] {
        let config = SearchConfig { space, timing, ..config() };
        let outcome = search(&config, &mut ImaginaryOracle::linear(0.0, 1.0), 1);
        assert_eq!(outcome.best.bits.to_string(), "1,1,1,1", "{space:?}, {timing:?}");
        let pinned = BTreeMap::from([("layer1".to_owned(), 8)]);
        let config = SearchConfig { pinned, episodes: 8, ..config };
        let outcome = search(&config, &mut ImaginaryOracle::linear(0.0, 1.0), 1);
        assert!(outcome.evaluated.iter().all(|found| found.bits.0[1].get() == 8), "{space:?}, {timing:?}");
    }
}

#[test]
fn a_step_of_restricted_actions_moves_by_one_bitwidth() {
    let config = SearchConfig {
        space: ActionSpace::Restricted,
        timing: Timing::Step,
        actions: ActionSet::List(vec![2, 4, 8]),
        episodes: 4,
        ..config()
    };
    let outcome = search(&config, &mut ImaginaryOracle::linear(1.0, 0.0), 1);
    let sums: Vec<u32> =
        outcome.evaluated.iter().map(|e| e.bits.0.iter().map(|bits| u32::from(bits.get())).sum()).collect();
    assert!(sums.contains(&32), "an episode starts at the highest: {sums:?}");
    assert!(outcome.evaluated.iter().all(|found| found.bits.0.iter().all(|bits| [2, 4, 8].contains(&bits.get()))));
}
