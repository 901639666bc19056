//! A packed network computes what its training computed.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;

use candle_core::Device;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use releq::data::{ImageSource, Images, PixelGrid};
use releq::network::zoo;
use releq::pack::costs::{CostTable, LayerKind};
use releq::pack::integer::run_blob;
use releq::pack::{BlobFacts, CoreClass, pack, pack_by};
use releq::quantize::Quantizer;
use releq::train::{Model, Pass, Quantization};
use releq_shared::Bitwidth;
use releq_shared::blob::{AlignedCopy, Blob};
use releq_shared::layout::Layout;

fn random_images(graph: &releq::network::Graph, count: usize, rng: &mut ChaCha8Rng) -> Images {
    let shape = graph.input();
    let pixels = (0..count * shape.elements()).map(|_| rng.random()).collect();
    Images { shape, pixels, labels: vec![0; count] }
}

/// Gives batch norms statistics that differ from channel to channel, and gains of both signs.
fn unsettle(model: &Model, rng: &mut ChaCha8Rng) {
    for (name, var) in model.parameters().iter().chain(model.statistics()) {
        let range = match name.rsplit('.').next().unwrap() {
            "bias" | "beta" | "mean" => -0.3..0.3,
            "variance" => 0.5..2.0,
            "gamma" => -1.5..1.5,
            _ => continue,
        };
        let values: Vec<f32> = (0..var.elem_count()).map(|_| rng.random_range(range.clone())).collect();
        var.set(&candle_core::Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap()).unwrap();
    }
}

/// Packs a random network and compares its logits with those of the fake-quantised pass: the mean difference relative to
/// the logits' spread. Rounding may fall apart by a step here and there, no more.
fn difference(name: &str, quantizer: Quantizer, bits: u8, images: usize) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(u64::from(bits));
    let graph = Arc::new(zoo::by_name(name).unwrap());
    let model = Model::new(graph.clone(), 3, &Device::Cpu).unwrap();
    unsettle(&model, &mut rng);
    let images = random_images(&graph, images, &mut rng);
    let grid = PixelGrid { scale: 1.0 / 64.0, zero_point: 120 };
    let batch = ImageSource::new(images.clone(), grid).batch(0, images.len(), &Device::Cpu).unwrap();
    let bits = vec![Some(Bitwidth::new(bits).unwrap()); graph.weight_layers().len()];
    let mut quantization = Quantization::by(quantizer, &model, &bits).unwrap();
    quantization.calibrate(&model, &batch.images).unwrap();
    let classes: Vec<String> = (0..graph.classes()).map(|class| class.to_string()).collect();
    let facts = BlobFacts { dataset: "random", classes: &classes, grid, seed: 1, config_hash: 2 };
    let blob = pack(&model, &quantization, &facts, CoreClass::ArmV7em).unwrap();
    let aligned = AlignedCopy::new(&blob);
    let scale = Blob::new_checked(&aligned).unwrap().header().output_scale;
    let expected: Vec<f32> = model
        .forward(&batch.images, Pass::Infer(Some(&quantization)))
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1()
        .unwrap();
    let got: Vec<f32> = run_blob(&blob, &images, &|| ())
        .unwrap()
        .logits
        .concat()
        .into_iter()
        .map(|logit| logit as f32 * scale)
        .collect();
    let mean = expected.iter().sum::<f32>() / expected.len() as f32;
    let spread = expected.iter().map(|x| (x - mean).powi(2)).sum::<f32>();
    let error = expected.iter().zip(&got).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
    f64::from((error / spread).sqrt())
}

#[test]
fn packed_networks_compute_what_training_did() {
    for name in ["lenet", "simplenet", "resnet8"] {
        for bits in [1, 2, 5, 8] {
            let difference = difference(name, Quantizer::Scaled, bits, 12);
            assert!(difference < 0.02, "{name} at {bits} bits: {difference}");
        }
    }
}

/// One more level or one less, and scales that no channel has for itself. Few bits of WRPN round most weights to zero.
#[test]
fn the_published_quantisers_pack_too() {
    let cases = [
        (Quantizer::Dorefa, 1),
        (Quantizer::Dorefa, 2),
        (Quantizer::Dorefa, 4),
        (Quantizer::Wrpn, 3),
        (Quantizer::Wrpn, 5),
    ];
    for (quantizer, bits) in cases {
        for name in ["lenet", "resnet8"] {
            let difference = difference(name, quantizer, bits, 8);
            assert!(difference < 0.02, "{name} by {quantizer:?} at {bits} bits: {difference}");
        }
    }
}

/// Depthwise convolutions, wide kernels and strides, overlapping poolings, batch norms in all of them.
#[test]
fn so_do_the_larger_networks_of_the_zoo() {
    for (name, bits) in [("mobilenetv1", 4), ("alexnet", 2), ("vgg11", 3), ("svhn10", 2)] {
        let difference = difference(name, Quantizer::Scaled, bits, 2);
        assert!(difference < 0.05, "{name} at {bits} bits: {difference}");
    }
}

#[test]
fn layouts_follow_the_measured_costs() {
    let model = Model::new(Arc::new(zoo::by_name("lenet").unwrap()), 3, &Device::Cpu).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let images = random_images(model.graph(), 4, &mut rng);
    let grid = PixelGrid { scale: 1.0 / 64.0, zero_point: 0 };
    let mut quantization = Quantization::of_weights(&model, &[Some(Bitwidth::MIN); 4]).unwrap();
    let batch = ImageSource::new(images.clone(), grid).batch(0, images.len(), &Device::Cpu).unwrap();
    quantization.calibrate(&model, &batch.images).unwrap();
    let facts = BlobFacts { dataset: "random", classes: &[], grid, seed: 1, config_hash: 2 };
    let layouts = |target, costs: Option<&CostTable>| {
        let blob = AlignedCopy::new(&pack_by(&model, &quantization, &facts, CoreClass::into(target), costs).unwrap());
        let blob = Blob::new_checked(&blob).unwrap();
        blob.ops().filter_map(|op| Some(op.weights()?.layout)).collect::<Vec<_>>()
    };
    // A made-up core that likes its convolutions twinned and its dense layers plain.
    let mut costs = CostTable::new("made up", "made up", "instructions");
    for kind in LayerKind::ALL {
        let dense = if kind == LayerKind::Dense { [1.0, 2.0] } else { [2.0, 1.0] };
        costs.insert(kind, Bitwidth::MIN, Layout::Bitstream, dense[0]);
        costs.insert(kind, Bitwidth::MIN, Layout::TwinRows, dense[1]);
    }
    let (plain, twins) = (Layout::Bitstream, Layout::TwinRows);
    assert_eq!(layouts(CoreClass::Portable, Some(&costs)), [twins, twins, plain, plain]);
    assert_eq!(layouts(CoreClass::Portable, None), [plain; 4]);
    // The recorded table of a core says what its kernels are made for.
    let recorded = CostTable::recorded(CoreClass::ArmV7em).unwrap();
    assert_eq!(layouts(CoreClass::ArmV7em, Some(&recorded)), [twins, twins, Layout::TwinQuads, Layout::TwinQuads]);
    assert_eq!(layouts(CoreClass::ArmV7em, None), layouts(CoreClass::ArmV7em, Some(&recorded)));
}

#[test]
fn a_network_that_was_never_calibrated_is_refused_by_name() {
    let graph = Arc::new(zoo::by_name("lenet").unwrap());
    let model = Model::new(graph, 3, &Device::Cpu).unwrap();
    let facts =
        BlobFacts { dataset: "", classes: &[], grid: PixelGrid { scale: 1.0, zero_point: 0 }, seed: 0, config_hash: 0 };
    let quantization = Quantization::of_weights(&model, &[Some(Bitwidth::MIN); 4]).unwrap();
    let error = pack(&model, &quantization, &facts, CoreClass::ArmV7em).unwrap_err().to_string();
    assert!(error.contains("relu_conv1") && error.contains("calibrated"), "{error}");
    let float = Quantization::of_weights(&model, &[None; 4]).unwrap();
    let error = pack(&model, &float, &facts, CoreClass::ArmV7em).unwrap_err().to_string();
    assert!(error.contains("conv1") && error.contains("no bitwidth"), "{error}");
}
