//! A network from a file that other programs wrote computes what they say it computes.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use prost::Message;
use releq::network::onnx::proto::{AttributeProto, ModelProto};
use releq::network::onnx::{self, OnnxError};
use releq::stages::model_of;
use releq::train::{Model, Pass};

fn file() -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx/tiny.onnx")).unwrap()
}

fn logits(model: &Model) -> Vec<f32> {
    let values: Vec<f32> = (0..2 * 768u32).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
    let images = Tensor::from_vec(values, (2, 3, 16, 16), &Device::Cpu).unwrap();
    model.forward(&images, Pass::Infer(None)).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn a_foreign_file_gives_the_logits_of_onnxruntime() {
    let imported = onnx::import(&file(), "tiny").unwrap();
    assert_eq!(imported.notes.len(), 1, "the Softmax is left out: {:?}", imported.notes);
    let model = model_of(&Arc::new(imported.graph), &imported.weights, &Device::Cpu).unwrap();
    let expected = include_str!("data/onnx/tiny.logits");
    let expected: Vec<f32> = expected.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let got = logits(&model);
    assert_eq!(got.len(), expected.len());
    let far = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(far < 1e-4, "{got:?}, onnxruntime {expected:?}");
}

#[test]
fn all_that_is_unsupported_is_listed() {
    let mut model = ModelProto::decode(&file()[..]).unwrap();
    let nodes = &mut model.graph.as_mut().unwrap().node;
    nodes[2].op_type = "Sigmoid".to_owned();
    nodes[3].attribute.push(AttributeProto {
        name: "dilations".to_owned(),
        ints: vec![2, 2],
        ..AttributeProto::default()
    });
    nodes[6]
        .attribute
        .iter_mut()
        .for_each(|a| a.ints = if a.name == "pads" { vec![0, 0, 1, 1] } else { a.ints.clone() });
    let Err(OnnxError::Unsupported { nodes }) = onnx::import(&model.encode_to_vec(), "tiny") else {
        panic!("accepted")
    };
    let operators: Vec<&str> = nodes.iter().map(|node| node.operator.as_str()).collect();
    assert_eq!(operators, ["Sigmoid", "Conv", "Conv"], "{nodes:?}");
    assert!(nodes[1].node == "dw" && nodes[1].reason.contains("dilations are [2, 2]"), "{nodes:?}");
    assert!(nodes[2].reason.contains("pads are [0, 0, 1, 1]"), "{nodes:?}");
}

#[test]
fn what_is_no_model_is_refused() {
    for bytes in [&b"rubbish"[..], &[], &file()[..2000]] {
        assert!(matches!(onnx::import(bytes, "x"), Err(OnnxError::Model { .. })));
    }
}
