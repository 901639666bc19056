//! `releq bench train`: how fast this machine trains.

use std::time::Duration;

use clap::Args;
use releq_shared::Bitwidth;
use serde::Serialize;

use crate::bench::train::{self, MemoryFigures, NETWORKS, NetworkFigures, TrainBenchConfig, WorkerFigures};
use crate::network::zoo;
use crate::progress::Progress;

/// Time training steps beside the same steps on candle's own operations, in turn, in one run
///
/// Three steps are compared for each network: float with candle's operations ("stock"), float with releq's, and with
/// weights and activations fake-quantised ("quantised", what a search is made of). The machine's matrix
/// multiplication is measured first; layers are compared with it.
#[derive(Args, Debug)]
pub(super) struct TrainBenchArgs {
    /// The network, one of `releq networks`; may be given several times [default: lenet, simplenet, svhn8, resnet20]
    #[arg(long)]
    network: Vec<String>,
    /// Images of a step
    #[arg(long, default_value = "128")]
    batch: std::num::NonZeroUsize,
    /// Bits of all weights in the quantised steps
    #[arg(long, default_value = "2", value_parser = clap::value_parser!(u8).range(1..=8))]
    bits: u8,
    /// Seconds to measure each network, about; stock steps of large networks take their time
    #[arg(long, default_value = "12")]
    seconds: u64,
    /// Threads [default: all cores]
    #[arg(long)]
    threads: Option<std::num::NonZeroUsize>,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    threads: usize,
    batch: usize,
    bits: u8,
    peak_gflops: f64,
    peak_gflops_one_thread: f64,
    networks: Vec<NetworkFigures>,
    /// Two workers against one; only where there are two threads.
    workers: Option<WorkerFigures>,
    /// Over a thousand steps of LeNet, 16 images each.
    memory: Option<MemoryFigures>,
}

pub(super) fn run(args: &TrainBenchArgs) -> anyhow::Result<()> {
    let names: Vec<&str> =
        if args.network.is_empty() { NETWORKS.to_vec() } else { args.network.iter().map(String::as_str).collect() };
    let graphs = names.iter().map(|name| zoo::by_name(name)).collect::<Result<Vec<_>, _>>()?;
    let threads = args.threads.or(std::thread::available_parallelism().ok()).map_or(1, usize::from);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    // First, before anything else has grown.
    let memory = pool.install(|| train::memory_over_steps(1000)).map_err(|error| anyhow::anyhow!(error))?;
    let mut report = pool.install(|| measure(args, graphs, threads))?;
    report.memory = memory;
    if threads > 1 {
        report.workers = Some(train::workers().map_err(|error| anyhow::anyhow!(error))?);
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(())
}

fn measure(args: &TrainBenchArgs, graphs: Vec<crate::network::Graph>, threads: usize) -> anyhow::Result<Report> {
    let progress = Progress::new();
    let peak = train::peak_flops(threads);
    let config = TrainBenchConfig {
        batch: args.batch.get(),
        bits: Bitwidth::new(args.bits)?,
        budget: Duration::from_secs(args.seconds),
    };
    let mut networks = Vec::new();
    for graph in graphs {
        let mut task = progress.task("bench", 100);
        let name = graph.name.clone();
        networks.push(train::network(graph, config, peak, |done| task.set((100.0 * done) as u64, || name.clone()))?);
        if crate::interrupt::requested() {
            anyhow::bail!("interrupted");
        }
    }
    Ok(Report {
        threads,
        batch: config.batch,
        bits: args.bits,
        peak_gflops: peak / 1e9,
        peak_gflops_one_thread: train::peak_flops(1) / 1e9,
        networks,
        workers: None,
        memory: None,
    })
}

fn print(report: &Report) {
    let Report { threads, batch, bits, peak_gflops, peak_gflops_one_thread, .. } = report;
    println!(
        "matrix multiplication: {peak_gflops:.0} GFLOP/s on {threads} threads, {peak_gflops_one_thread:.0} on one"
    );
    println!("steps of {batch} images, quantised at {bits} bits; seconds are medians");
    println!(
        "{:<11}{:>9}{:>9}{:>11}{:>10}{:>11}{:>9}{:>10}{:>10}",
        "network", "stock ms", "float ms", "quantised", "speed-up", "images/s", "GFLOP/s", "of peak", "rounding"
    );
    for figures in &report.networks {
        println!(
            "{:<11}{:>9.1}{:>9.1}{:>11.1}{:>9.1}x{:>11.0}{:>9.0}{:>9.0}%{:>9.1}%",
            figures.network,
            figures.stock.seconds * 1e3,
            figures.float.seconds * 1e3,
            figures.quantized.seconds * 1e3,
            figures.speedup_over_stock,
            figures.quantized.images_per_second,
            figures.quantized.gflops,
            figures.quantized.share_of_peak * 100.0,
            figures.fake_quantization_share * 100.0,
        );
    }
    for figures in &report.networks {
        println!();
        println!("{}: where a quantised step spends its time", figures.network);
        let shares = figures.operations.iter().filter(|share| share.share >= 0.005);
        let shares: Vec<String> =
            shares.map(|share| format!("{} {:.1}%", share.operation, share.share * 100.0)).collect();
        println!("  {}", shares.join(", "));
        println!("  {:<34}{:>3}{:>12}{:>13}{:>9}{:>9}", "layer", "", "forward ms", "backward ms", "GFLOP/s", "of peak");
        for layer in &figures.layers {
            println!(
                "  {:<34}{:>3}{:>12.2}{:>13.2}{:>9.0}{:>8.0}%",
                layer.layer,
                if layer.count > 1 { format!("x{}", layer.count) } else { String::new() },
                layer.forward_seconds * 1e3,
                layer.backward_seconds * 1e3,
                layer.gflops,
                layer.share_of_peak * 100.0,
            );
        }
    }
    if let Some(workers) = &report.workers {
        println!();
        println!(
            "{} candidates of lenet: one worker {:.2} s, two workers {:.2} s ({:.2}x), one thread each",
            workers.candidates, workers.one_seconds, workers.two_seconds, workers.speedup
        );
    }
    if let Some(memory) = &report.memory {
        let [early, late] = [memory.early_bytes, memory.late_bytes].map(|bytes| bytes as f64 / f64::from(1 << 20));
        println!(
            "memory of lenet: {early:.1} MiB after {} steps, {late:.1} MiB after {}",
            memory.steps / 10,
            memory.steps
        );
    }
    if let Some(bytes) = report.networks.last().and_then(|figures| figures.peak_memory_bytes) {
        println!();
        println!("most memory held: {} MiB (candle's steps included)", bytes >> 20);
    }
}
