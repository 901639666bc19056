//! `releq inspect`: what is inside a blob.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use releq_firmware::engine::required_arena_on;
use releq_firmware::kernels::CoreClass;
use releq_shared::blob::{AlignedCopy, Blob, Op, Tensor};
use serde::Serialize;

use crate::pack::describe::{WeightBytes, kind};

/// Show the header, the layers and the sections of a model blob
///
/// Checks the blob as a board would before it runs it, so this also answers whether a file is sound.
#[derive(Args, Debug)]
pub(super) struct InspectArgs {
    /// The blob, a `.rlq` file
    pub model: PathBuf,
    /// Print JSON instead of tables
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Serialize)]
struct Inspection<'a> {
    network: &'a str,
    dataset: &'a str,
    labels: Vec<&'a str>,
    format_version: u16,
    packed_by: &'a str,
    seed: u64,
    config_hash: String,
    blob_bytes: usize,
    header_bytes: usize,
    weight_bytes: u64,
    /// `sum(weights * bits) / 8`.
    weight_bytes_ideal: u64,
    weight_overhead: f64,
    channel_bytes: u64,
    tensor_arena_bytes: u32,
    /// With kernel scratch, by class of core.
    arena_bytes: Vec<(String, usize)>,
    input: Shape,
    input_scale: f32,
    output_scale: f32,
    mean_bits: f64,
    weighted_bits: f64,
    macs: u64,
    layers: Vec<Layer<'a>>,
}

#[derive(Debug, Serialize)]
struct Shape {
    height: u16,
    width: u16,
    channels: u16,
    zero_point: u8,
    arena_offset: u32,
}

#[derive(Debug, Serialize)]
struct Layer<'a> {
    index: usize,
    name: &'a str,
    kind: &'static str,
    fused_pool: bool,
    bits: Option<u8>,
    z: Option<u16>,
    layout: Option<String>,
    inputs: Vec<Shape>,
    output: Shape,
    weights: u64,
    macs: u64,
    weight_bytes: u64,
    weight_offset: Option<u32>,
    channel_bytes: u64,
}

impl From<&Tensor> for Shape {
    fn from(tensor: &Tensor) -> Self {
        let Tensor { offset, height, width, channels, zero_point, .. } = *tensor;
        Self { height, width, channels, zero_point, arena_offset: offset }
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{}x{}x{}", self.height, self.width, self.channels))
    }
}

/// Runs the command.
///
/// # Errors
/// If the file cannot be read or is no sound blob.
pub(super) fn run(args: &InspectArgs) -> anyhow::Result<()> {
    let bytes = std::fs::read(&args.model).with_context(|| format!("cannot read {}", args.model.display()))?;
    let bytes = AlignedCopy::new(&bytes);
    let blob = Blob::new_checked(&bytes).with_context(|| format!("{} is no sound model", args.model.display()))?;
    let inspection = inspect(&blob);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&inspection)?);
    } else {
        print(&inspection);
    }
    Ok(())
}

fn inspect<'a>(blob: &Blob<'a>) -> Inspection<'a> {
    let header = blob.header();
    let layers: Vec<Layer<'a>> = blob.ops().enumerate().map(|(index, op)| layer(index, &op)).collect();
    let weighted: Vec<(u64, u64)> =
        layers.iter().filter_map(|layer| Some((layer.weights, u64::from(layer.bits?)))).collect();
    let weights: u64 = weighted.iter().map(|(weights, _)| weights).sum();
    let bits_total: u64 = weighted.iter().map(|(weights, bits)| weights * bits).sum();
    let weight_bytes = WeightBytes::of_blob(blob);
    let section_bytes: u64 = layers.iter().map(|layer| layer.weight_bytes + layer.channel_bytes).sum();
    Inspection {
        network: header.network,
        dataset: header.dataset,
        labels: header.labels().collect(),
        format_version: releq_shared::blob::FORMAT_VERSION,
        packed_by: header.provenance.version,
        seed: header.provenance.seed,
        config_hash: format!("{:016x}", header.provenance.config_hash),
        blob_bytes: blob.as_bytes().len(),
        header_bytes: blob.as_bytes().len() - section_bytes as usize,
        weight_bytes: weight_bytes.stored,
        weight_bytes_ideal: weight_bytes.bare(),
        weight_overhead: weight_bytes.overhead(),
        channel_bytes: layers.iter().map(|layer| layer.channel_bytes).sum(),
        tensor_arena_bytes: header.arena_bytes,
        arena_bytes: CoreClass::ALL
            .iter()
            .map(|&class| (format!("{class:?}"), required_arena_on(blob, class)))
            .collect(),
        input: Shape::from(&header.input),
        input_scale: header.input_scale,
        output_scale: header.output_scale,
        mean_bits: weighted.iter().map(|(_, bits)| *bits as f64).sum::<f64>() / weighted.len().max(1) as f64,
        weighted_bits: bits_total as f64 / weights.max(1) as f64,
        macs: layers.iter().map(|layer| layer.macs).sum(),
        layers,
    }
}

fn layer<'a>(index: usize, op: &Op<'a>) -> Layer<'a> {
    let fused_pool = matches!(op, Op::Conv2d(op) if op.pool.is_some());
    let weights = op.weights();
    let channel_bytes = weights.map_or(0, |w| {
        let table = w.channels;
        u64::from(table.bias.len + table.multiplier.len + table.shift.len.next_multiple_of(4))
    });
    Layer {
        index,
        name: op.name(),
        kind: kind(op),
        fused_pool,
        bits: weights.map(|w| w.bits.get()),
        z: weights.map(|w| w.z),
        layout: weights.map(|w| format!("{:?}", w.layout)),
        inputs: op.inputs().iter().map(Shape::from).collect(),
        output: Shape::from(op.output()),
        weights: op.weight_shape().map_or(0, |(rows, columns)| u64::from(rows) * columns),
        macs: op.macs(),
        weight_bytes: WeightBytes::of_op(op).stored,
        weight_offset: weights.map(|w| w.codes.offset),
        channel_bytes,
    }
}

fn print(inspection: &Inspection<'_>) {
    let Inspection { network, dataset, blob_bytes, header_bytes, weight_bytes, channel_bytes, .. } = inspection;
    println!("{network} on {dataset}, {} classes: {}", inspection.labels.len(), inspection.labels.join(" "));
    println!(
        "format {}, packed by releq {} (seed {}, configuration {})",
        inspection.format_version, inspection.packed_by, inspection.seed, inspection.config_hash
    );
    println!("input {} x {:.6}, logits x {:.3e}", inspection.input, inspection.input_scale, inspection.output_scale);
    println!();
    println!(
        "{:<3}{:<14}{:<16}{:>5}  {:<14}{:>12}{:>12}{:>9}{:>11}{:>12}",
        "", "layer", "kind", "bits", "layout", "in", "out", "weights", "bytes", "MACs"
    );
    for layer in &inspection.layers {
        let kind = if layer.fused_pool { format!("{}+maxpool", layer.kind) } else { layer.kind.to_owned() };
        let input = layer.inputs.first().map(ToString::to_string).unwrap_or_default();
        println!(
            "{:<3}{:<14}{kind:<16}{:>5}  {:<14}{input:>12}{:>12}{:>9}{:>11}{:>12}",
            layer.index,
            layer.name,
            layer.bits.map_or_else(|| "-".to_owned(), |bits| bits.to_string()),
            layer.layout.as_deref().unwrap_or("-"),
            layer.output,
            layer.weights,
            layer.weight_bytes,
            layer.macs,
        );
    }
    println!();
    println!("mean bits {:.2} (a weight: {:.2})", inspection.mean_bits, inspection.weighted_bits);
    println!(
        "blob {blob_bytes} bytes: header {header_bytes}, weights {weight_bytes} ({:+.1}% over the bits alone), channel tables \
         {channel_bytes}",
        inspection.weight_overhead * 100.0
    );
    let classes: Vec<String> = inspection.arena_bytes.iter().map(|(class, bytes)| format!("{class} {bytes}")).collect();
    println!(
        "working memory: tensors {} bytes; with kernel scratch {}",
        inspection.tensor_arena_bytes,
        classes.join(", ")
    );
}
