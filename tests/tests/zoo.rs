//! The whole job on every network of the zoo, small: train, search, fine-tune, fold, pack, run on the host's integer engine and,
//! where the model fits a virtual Cortex-M4, there too, bit for bit.
//!
//! Images are coloured noise whose brightness tells the class: enough for a loss that falls, nothing to be accurate on.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::{Arc, Mutex, PoisonError};

use releq::bench::random_network;
use releq::compute::Devices;
use releq::data::{Dataset, ImageSource, Images, PixelGrid};
use releq::device::firmware::LogLevel;
use releq::device::{DeviceError, Placement, board};
use releq::network::{Graph, Op, Shape, zoo};
use releq::pack::integer::run_blob;
use releq::progress::Progress;
use releq::run::{RunConfig, RunFolder};
use releq::search::{ActionSet, Reward, SearchConfig};
use releq::stages::{self, MeasureOptions, Workshop, files};
use releq::train::{FitConfig, Pass, checkpoint};
use releq_firmware::random::Random;
use releq_shared::blob::{AlignedCopy, Blob};

const BOARD: &str = "qemu-mps2-an386";

/// What becomes of a network's model on the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// It runs.
    Runs,
    /// The board lacks room for this.
    Lacks(&'static str),
}

/// A network with its weights and multiply-accumulates (the published ones, where there are any), the bits offered to its search
/// (few where more would not fit into two megabytes of flash) and what becomes of it on the board.
struct Case {
    network: &'static str,
    weights: usize,
    macs: usize,
    bits: &'static [u8],
    expected: Expected,
}

const fn case(network: &'static str, weights: usize, macs: usize, bits: &'static [u8], expected: Expected) -> Case {
    Case { network, weights, macs, bits, expected }
}

const CASES: [Case; 11] = [
    case("lenet", 430_500, 2_293_000, &[1, 2, 3, 4, 5], Expected::Runs),
    case("simplenet", 61_770, 651_720, &[1, 2, 3, 4, 5], Expected::Runs),
    case("svhn8", 584_032, 39_815_680, &[1, 2, 3, 4, 5], Expected::Runs),
    case("svhn10", 14_387_728, 145_123_328, &[1], Expected::Runs),
    case("resnet8", 77_360, 12_501_632, &[1, 2, 3, 4, 5], Expected::Runs),
    case("resnet20", 270_896, 40_813_184, &[1, 2, 3, 4, 5], Expected::Runs),
    case("vgg11", 9_222_848, 152_769_536, &[1, 2], Expected::Runs),
    case("vgg16", 14_715_584, 313_201_664, &[2, 3], Expected::Lacks("flash")),
    case("alexnet", 2_471_104, 14_957_056, &[1, 2, 3, 4, 5], Expected::Runs),
    case("mobilenetv1", 3_195_328, 175_556_608, &[1, 2, 3, 4, 5], Expected::Runs),
    case("mobilenetv1-tiny", 208_112, 7_489_664, &[1, 2, 3, 4, 5], Expected::Runs),
];

/// Images on which a network is small enough for the board's working memory, where its own are too large.
const SMALLER: [(&str, [usize; 3]); 1] = [("mobilenetv1", [3, 24, 24])];

/// One at a time has both cores, and the figures on memory are those of one.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn the_whole_zoo_is_here() {
    let small: Vec<&str> = zoo::NAMES.into_iter().filter(|name| !name.ends_with("-imagenet")).collect();
    assert_eq!(CASES.map(|case| case.network).to_vec(), small);
}

#[test]
fn weights_and_multiply_accumulates_are_the_published_ones() {
    for Case { network, weights, macs, .. } in CASES {
        let layers = zoo::by_name(network).unwrap().weight_layers();
        let found: usize = layers.iter().map(|layer| layer.weights).sum();
        let found_macs: usize = layers.iter().map(|layer| layer.macs).sum();
        assert_eq!((found, found_macs), (weights, macs), "{network}");
    }
}

#[test]
fn what_is_too_large_for_the_boards_working_memory_is_refused_with_both_numbers() {
    let board = board::by_name(BOARD).unwrap();
    for (network, _) in SMALLER {
        let model = random_network(network, &"1".parse().unwrap(), board.class(), 1).unwrap();
        let copy = AlignedCopy::new(&model);
        match Placement::choose(&board, &Blob::new_checked(&copy).unwrap()) {
            Err(DeviceError::DoesNotFit { what, needed, available, .. }) => {
                assert_eq!((what, available), ("working memory (activations and scratch)", board.arena_bytes));
                assert!(needed > available, "{network} needs {needed} of {available}");
            }
            other => panic!("{network}: {other:?}"),
        }
    }
}

macro_rules! each {
    ($($network:ident),* $(,)?) => {
        $(#[test]
        fn $network() {
            let case = CASES.into_iter().find(|case| case.network.replace('-', "_") == stringify!($network)).unwrap();
            whole_job(&case);
        })*
    };
}

each!(lenet, simplenet, svhn8, svhn10, resnet8, resnet20, vgg11, vgg16, alexnet, mobilenetv1, mobilenetv1_tiny);

fn images(graph: &Graph, count: usize, seed: u64) -> Images {
    let shape = graph.input();
    let mut random = Random::new(seed);
    let mut pixels = vec![0; count * shape.elements()];
    random.fill(&mut pixels, 63);
    let labels: Vec<u16> = (0..count).map(|image| (image % graph.classes()) as u16).collect();
    for (image, &label) in pixels.chunks_exact_mut(shape.elements()).zip(&labels) {
        image.iter_mut().for_each(|pixel| *pixel += 19 * label as u8);
    }
    Images { shape, pixels, labels }
}

fn workshop(graph: Graph) -> Workshop {
    let grid = PixelGrid { scale: 1.0 / 64.0, zero_point: 120 };
    let [train, validation, test] = [(24, 1), (10, 2), (4, 3)].map(|(count, seed)| images(&graph, count, seed));
    let source = |images: &Images| ImageSource::new(images.clone(), grid);
    Workshop {
        training: source(&train),
        validation: source(&validation),
        test: source(&test),
        data: Dataset {
            name: "noise".to_owned(),
            classes: (0..graph.classes()).map(|class| class.to_string()).collect(),
            grid,
            train,
            validation,
            test,
            source: "this test".to_owned(),
        },
        graph: Arc::new(graph),
        devices: Devices::parse("cpu").unwrap(),
        progress: Progress::silent(),
    }
}

/// Some steps each, and a search of two episodes.
fn config(case: &Case) -> RunConfig {
    let fit = |steps, batch| FitConfig { steps: Some(steps), batch, lr: 1e-3, ..FitConfig::default() };
    RunConfig {
        train: fit(4, 8),
        short: fit(1, 4),
        finetune: fit(2, 4),
        candidates: 1,
        search: SearchConfig {
            episodes: 2,
            batch: 2,
            actions: ActionSet::List(case.bits.to_vec()),
            reward: Reward::Constraint { max_loss_points: 100.0 },
            polish: false,
            ..SearchConfig::default()
        },
        ..RunConfig::of_network(case.network)
    }
}

fn whole_job(case: &Case) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let started = std::time::Instant::now();
    let folder = tempfile::tempdir().unwrap();
    let smaller = SMALLER.iter().find(|(network, _)| *network == case.network).map(|(_, input)| *input);
    let mut graph = zoo::by_name(case.network).unwrap();
    if let Some([channels, height, width]) = smaller {
        graph = graph.adapted(Shape { channels, height, width }, graph.classes()).unwrap();
    }
    let config = RunConfig { input: smaller, ..config(case) };
    let mut run = RunFolder::create(&folder.path().join("run"), config).unwrap();
    let workshop = workshop(graph);
    stages::train(&mut run, &workshop).unwrap();
    let found = stages::search(&mut run, &workshop).unwrap();
    assert!((1..=3).contains(&found.evaluated.len()), "two episodes and the greedy one: {found:?}");
    stages::finetune(&mut run, &workshop, None).unwrap();
    let board = board::by_name(BOARD).unwrap();
    let model = stages::pack(&mut run, &workshop, board.class()).unwrap();
    assert!(run.result.bits.iter().all(|bits| case.bits.contains(bits)), "{:?}", run.result.bits);
    the_integers_compute_what_training_did(&run, &workshop, &model);

    let copy = AlignedCopy::new(&model);
    let blob = Blob::new_checked(&copy).unwrap();
    let norms = workshop.graph.nodes.iter().filter(|node| matches!(node.op, Op::BatchNorm { .. })).count();
    let (layers, kilobytes) = (workshop.graph.weight_layers().len(), model.len() / 1024);
    let weighted = blob.ops().filter(|op| op.weights().is_some()).count();
    assert_eq!(weighted, layers, "{norms} batch norms are folded, so that only layers with weights have any");
    let fate = match (Placement::choose(&board, &blob), case.expected) {
        (Ok(_), Expected::Runs) => {
            let options = MeasureOptions { samples: 1, verbose: false, log: LogLevel::default(), supply: None };
            let test = &workshop.data.test;
            let measured = stages::measure(&mut run, &board, &model, test, options, Progress::silent()).unwrap();
            assert_eq!(measured.differing, [0usize; 0], "{}: images that the board answers otherwise", case.network);
            format!("{:.1} M instructions", measured.result.instructions_per_inference / 1e6)
        }
        (Err(DeviceError::DoesNotFit { what, needed, available, .. }), Expected::Lacks(expected)) => {
            assert_eq!(what, expected, "{}", case.network);
            assert!(needed > available, "{what}: {needed} of {available}");
            format!("needs {needed} bytes of {what}, there are {available}")
        }
        (placement, expected) => panic!("{}: {placement:?}, not {expected:?}", case.network),
    };
    println!(
        "{}: {layers} layers, {norms} batch norms, {kilobytes} KB, {fate} ({:.1} s)",
        case.network,
        started.elapsed().as_secs_f64()
    );
}

/// The packed network, batch norms folded, and the fake-quantised one differ by roundings only.
fn the_integers_compute_what_training_did(run: &RunFolder, workshop: &Workshop, model: &[u8]) {
    let device = workshop.devices.first();
    let (tuned, quantization) = checkpoint::load(&run.file(files::FINETUNED), &workshop.graph, device).unwrap();
    let batch = workshop.test.batch(0, workshop.data.test.len(), device).unwrap();
    let logits = tuned.forward(&batch.images, Pass::Infer(quantization.as_ref())).unwrap();
    let expected: Vec<f32> = logits.flatten_all().unwrap().to_vec1().unwrap();
    let copy = AlignedCopy::new(model);
    let scale = Blob::new_checked(&copy).unwrap().header().output_scale;
    let answers = run_blob(model, &workshop.data.test, &|| ()).unwrap();
    let got = answers.logits.concat().into_iter().map(|logit| logit as f32 * scale);
    let mean = expected.iter().sum::<f32>() / expected.len() as f32;
    let spread: f32 = expected.iter().map(|x| (x - mean).powi(2)).sum();
    let error: f32 = expected.iter().zip(got).map(|(a, b)| (a - b).powi(2)).sum();
    let difference = (error / spread).sqrt();
    assert!(difference < 0.1, "{}: the integer logits differ by {difference} of their spread", run.result.network);
}
