//! `--device`: where tensors live.

use candle_core::Device;

/// The device of a name: `cpu`, `cuda:N` or `metal`.
///
/// # Errors
/// What to write instead, or which feature the program was built without.
pub(super) fn parse(name: &str) -> anyhow::Result<Device> {
    match name.split_once(':').unwrap_or((name, "0")) {
        ("cpu", _) => Ok(Device::Cpu),
        ("cuda", index) => {
            anyhow::ensure!(
                cfg!(feature = "cuda"),
                "this program was built without CUDA; build it with `cargo build --release --features cuda`"
            );
            let index = index.parse().map_err(|_| anyhow::anyhow!("{name:?}: write cuda:0, cuda:1, …"))?;
            Ok(Device::new_cuda(index)?)
        }
        ("metal", _) => {
            anyhow::ensure!(
                cfg!(feature = "metal"),
                "this program was built without Metal; build it with `cargo build --release --features metal`"
            );
            Ok(Device::new_metal(0)?)
        }
        _ => anyhow::bail!("there is no device {name:?}; write cpu, cuda:0 or metal"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_devices_are_refused_with_the_known_ones() {
        assert!(parse("cpu").is_ok());
        assert!(parse("tpu").unwrap_err().to_string().contains("cpu, cuda:0 or metal"));
    }
}
