//! Where tensors live, and whose operations compute there: this project's own on the CPU, candle's elsewhere.

use std::cell::Cell;

use anyhow::{Result, bail};
use candle_core::Device;

thread_local! {
    static STOCK_ONLY: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` with candle's operations even on the CPU: the path of a GPU, for tests and as the other side of the
/// bench. Holds for what this thread begins.
pub fn stock_only<T>(work: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            STOCK_ONLY.set(self.0);
        }
    }
    let _restore = Restore(STOCK_ONLY.replace(true));
    work()
}

/// Whether [`stock_only`] runs on this thread.
#[must_use]
pub fn is_stock_only() -> bool {
    STOCK_ONLY.get()
}

/// Whether a device's operations are this project's own.
#[must_use]
pub fn is_own(device: &Device) -> bool {
    device.is_cpu() && !is_stock_only()
}

/// Devices of one kind to work on, at least one.
#[derive(Clone, Debug)]
pub struct Devices {
    first: Device,
    others: Vec<Device>,
}

impl Devices {
    /// The first device.
    #[must_use]
    pub const fn first(&self) -> &Device {
        &self.first
    }

    /// All devices.
    pub fn iter(&self) -> impl Iterator<Item = &Device> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// The devices of a list of names, such as `cpu` or `cuda:0,cuda:1`.
    ///
    /// # Errors
    /// What to write instead, or which feature the program was built without.
    pub fn parse(names: &str) -> Result<Self> {
        let kind = |name: &str| name.split(':').next().unwrap_or_default().to_owned();
        let names: Vec<&str> = names.split(',').map(str::trim).collect();
        let mut devices = names.iter().map(|name| device(name)).collect::<Result<Vec<_>>>()?;
        if names.iter().any(|name| kind(name) != kind(names[0])) {
            // Kinds round differently: a search's results would depend on which device got which candidate.
            bail!("{}: choose devices of one kind", names.join(","));
        }
        let first = devices.remove(0);
        Ok(Self { first, others: devices })
    }
}

impl From<Device> for Devices {
    fn from(device: Device) -> Self {
        Self { first: device, others: Vec::new() }
    }
}

/// The device of a name: `cpu`, `cuda:N` or `metal`.
fn device(name: &str) -> Result<Device> {
    let without = |kind: &str, feature: &str| {
        bail!("this program was built without {kind}; build it with `cargo build --release --features {feature}`")
    };
    match name.split_once(':').unwrap_or((name, "0")) {
        ("cpu", _) => Ok(Device::Cpu),
        ("cuda", _) if !cfg!(feature = "cuda") => without("CUDA", "cuda"),
        ("cuda", index) => match index.parse() {
            Ok(index) => Ok(Device::new_cuda(index)?),
            Err(_) => bail!("{name:?}: write cuda:0, cuda:1, …"),
        },
        ("metal", _) if !cfg!(feature = "metal") => without("Metal", "metal"),
        ("metal", _) => Ok(Device::new_metal(0)?),
        _ => bail!("there is no device {name:?}; write cpu, cuda:0 or metal (cuda:0,cuda:1 for several)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_devices_are_refused_with_the_known_ones() {
        assert_eq!(Devices::parse("cpu").unwrap().iter().count(), 1);
        assert_eq!(Devices::parse("cpu,cpu").unwrap().iter().count(), 2);
        assert!(Devices::parse("tpu").unwrap_err().to_string().contains("cpu, cuda:0"));
        if !cfg!(feature = "cuda") {
            assert!(Devices::parse("cuda:0").unwrap_err().to_string().contains("--features cuda"));
        }
    }

    #[test]
    fn what_is_stock_ends_with_its_scope() {
        assert!(is_own(&Device::Cpu));
        stock_only(|| {
            assert!(!is_own(&Device::Cpu));
            stock_only(|| ());
            assert!(!is_own(&Device::Cpu), "an inner scope leaves the outer one");
        });
        assert!(is_own(&Device::Cpu));
    }
}
