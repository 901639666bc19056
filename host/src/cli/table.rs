//! The table of a run's results.

use crate::run::{DeviceResult, RunResult};
use crate::stages::percent;

/// Prints what a run has shown.
pub(super) fn print(result: &RunResult) {
    let bits: Vec<String> = result.bits.iter().map(ToString::to_string).collect();
    let or_none = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), percent);
    println!();
    println!("{} on {} (seed {})", result.network, result.dataset, result.seed);
    println!(
        "  bits              {} (mean {:.2}, a weight {:.2})",
        bits.join(","),
        result.mean_bits.unwrap_or_default(),
        result.weighted_bits.unwrap_or_default()
    );
    println!("  model             {} bytes", result.blob_bytes.unwrap_or_default());
    let test = result.images.map_or(0, |images| images[2]);
    println!("  accuracy          on {test} test images");
    println!("    float           {:>8}", or_none(result.accuracy.float));
    println!("    fake-quantised  {:>8}", or_none(result.accuracy.fake_quantized));
    println!("    integer, host   {:>8}", or_none(result.accuracy.integer_host));
    if let Some(device) = &result.device {
        print_device(device, result.accuracy.device);
    }
    let seconds = &result.seconds;
    let parts = [
        ("train", seconds.train),
        ("search", seconds.search),
        ("finetune", seconds.finetune),
        ("pack", seconds.pack),
        ("measure", seconds.measure),
    ];
    let parts: Vec<String> = parts.iter().filter_map(|(name, s)| Some(format!("{name} {:.0}", (*s)?))).collect();
    println!("  seconds           {}", parts.join(", "));
}

/// Prints what a board has shown.
pub(super) fn print_device(device: &DeviceResult, accuracy: Option<f64>) {
    let DeviceResult { board, samples, unit, .. } = device;
    println!("  on {board}, {samples} images");
    println!(
        "    accuracy        {:>8}   (host on the same images {})",
        accuracy.map_or_else(|| "-".to_owned(), percent),
        percent(device.host_accuracy_same_samples)
    );
    println!(
        "    agreement       {:>8}   of the images have all logits equal to the host's",
        percent(device.agreement)
    );
    println!(
        "    {unit:<12}    {:>8.0}   an inference (estimate at the board's clock, one cycle each: {:.1} ms)",
        device.instructions_per_inference, device.estimated_ms_per_inference
    );
    println!("    arena           {:>8} bytes, stack {} bytes", device.arena_bytes, device.stack_bytes);
    println!("    firmware        {:>8} bytes of flash, without the model", device.firmware_flash_bytes);
    println!("    {:<14}{:>5}{:>13}{:>11}{:>9}", "layer", "bits", unit, "MACs", "per MAC");
    for layer in &device.layers {
        let bits = layer.bits.map_or_else(|| "-".to_owned(), |bits| bits.to_string());
        let each = if layer.macs > 0 {
            format!("{:.2}", layer.instructions as f64 / layer.macs as f64)
        } else {
            "-".to_owned()
        };
        println!("    {:<14}{bits:>5}{:>13}{:>11}{each:>9}", layer.name, layer.instructions, layer.macs);
    }
}
