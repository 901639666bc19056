//! What memory the process holds, where the system tells.

/// Bytes in main memory now; none where the system does not say.
#[must_use]
pub fn resident() -> Option<u64> {
    status("VmRSS:")
}

/// The most bytes in main memory at any time so far.
#[must_use]
pub fn peak() -> Option<u64> {
    status("VmHWM:")
}

/// A line of the kernel's report on this process, in bytes.
fn status(key: &str) -> Option<u64> {
    let report = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = report.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_written_to_is_counted() {
        let block = std::hint::black_box(vec![1u8; 64 << 20]);
        assert!(peak().unwrap() >= block.len() as u64);
        assert!(resident().unwrap() > 0 && resident() <= peak());
    }
}
