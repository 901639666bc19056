//! The table of a run's results.

use crate::run::{DeviceResult, Energy, FlashSection, RunResult};
use crate::stages::percent;

/// The most classes of which a table of confusions is printed; result.json has it for any number.
const CLASSES_PRINTED: usize = 16;

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
    println!("  on {board}, {samples} images ({:.0} a second over the link)", device.images_per_second);
    println!(
        "    accuracy        {:>8}   (host on the same images {})",
        accuracy.map_or_else(|| "-".to_owned(), percent),
        percent(device.host_accuracy_same_samples)
    );
    println!(
        "    agreement       {:>8}   of the images have all logits equal to the host's",
        percent(device.agreement)
    );
    let mhz = f64::from(device.clock_hz) / 1e6;
    let latency = match (device.ms_per_inference, device.estimated_ms_per_inference) {
        (Some(ms), _) => format!(", {ms:.2} ms at {mhz} MHz"),
        (None, Some(ms)) => format!(" (an estimate, at {mhz} MHz and one cycle each: {ms:.1} ms)"),
        (None, None) => String::new(),
    };
    println!("    {unit:<12}    {:>8.0}   an inference{latency}", device.instructions_per_inference);
    if let Some(Energy { milliamps, volts, microjoules_per_inference, estimated_microjoules_per_inference }) =
        device.energy
    {
        let energy = match (microjoules_per_inference, estimated_microjoules_per_inference) {
            (Some(energy), _) => format!("{energy:>8.0} uJ"),
            (None, Some(energy)) => format!("{energy:>8.0} uJ, an estimate as the time is,"),
            (None, None) => "       - uJ".to_owned(),
        };
        println!("    energy          {energy} an inference, at {milliamps} mA and {volts} V");
    }
    println!(
        "    RAM             {:>8} bytes of arena, {} static, {} of stack at most",
        device.arena_bytes, device.static_bytes, device.stack_bytes
    );
    let sections = device.firmware_sections.iter();
    let sections: Vec<String> = sections.map(|FlashSection { name, bytes }| format!("{name} {bytes}")).collect();
    let sections = if sections.is_empty() { String::new() } else { format!(" ({})", sections.join(", ")) };
    println!("    firmware        {:>8} bytes of flash, without the model{sections}", device.firmware_flash_bytes);
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
    print_confusion(&device.confusion);
}

/// Prints which classes were taken for which, where they are few enough for a terminal.
fn print_confusion(confusion: &[Vec<u32>]) {
    if !(2..=CLASSES_PRINTED).contains(&confusion.len()) {
        return;
    }
    let line = |name: &str, cells: Vec<String>| {
        let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:>6}")).collect();
        println!("    {name:<14}{}", cells.concat());
    };
    line("class, answers", (0..confusion.len()).map(|class| class.to_string()).collect());
    for (class, answers) in confusion.iter().enumerate() {
        line(&class.to_string(), answers.iter().map(ToString::to_string).collect());
    }
}
