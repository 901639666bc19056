//! House rules that a program can check.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

/// Files in which `unsafe` may stand: kernels, the board's start-up, and what hands memory to them.
const UNSAFE_ALLOWED: [&str; 4] =
    ["firmware/src/kernels/", "firmware/c/src/", "boards/src/", "host/src/train/ops/gemm.rs"];
const LINES_AT_MOST: usize = 450;
const VAGUE_NAMES: [&str; 6] = ["utils", "util", "helpers", "common", "misc", "manager"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every Rust source of the workspace, as a path from its root, with its text.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in ["shared", "firmware", "boards", "host", "tests"] {
        collect(&root().join(folder), &mut found);
    }
    assert!(found.len() > 30, "only {} sources found: is this the workspace?", found.len());
    found
}

fn collect(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().unwrap() != "target" {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The names of sources for which `offends` holds.
fn offenders(offends: impl Fn(&str, &str) -> bool) -> Vec<String> {
    sources().into_iter().filter(|(name, text)| offends(name, text)).map(|(name, _)| name).collect()
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent = offenders(|_, text| !text.trim_start().starts_with("//!") && !text.trim_start().starts_with("#!"));
    assert!(silent.is_empty(), "no module documentation in {silent:?}");
}

#[test]
fn unsafe_code_lives_in_kernels_and_start_up_only() {
    let word = ["uns", "afe "].concat();
    let offending = offenders(|name, text| {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        !UNSAFE_ALLOWED.iter().any(|allowed| name.starts_with(allowed))
            && code.into_iter().any(|line| line.contains(&format!("{word}{{")) || line.contains(&format!("{word}fn")))
    });
    assert!(offending.is_empty(), "unsafe code in {offending:?}");
}

#[test]
fn files_stay_readable() {
    let long = offenders(|_, text| text.lines().count() > LINES_AT_MOST);
    assert!(long.is_empty(), "more than {LINES_AT_MOST} lines in {long:?}");
}

#[test]
fn names_say_something() {
    let vague = offenders(|name, _| name.split('/').any(|part| VAGUE_NAMES.contains(&part.trim_end_matches(".rs"))));
    assert!(vague.is_empty(), "{vague:?}");
}

#[test]
fn crates_depend_in_one_direction() {
    let allowed: [(&str, &[&str]); 4] = [
        ("shared", &[]),
        ("firmware", &["releq-shared"]),
        ("boards", &["releq-shared", "releq-firmware"]),
        ("host", &["releq-shared", "releq-firmware"]),
    ];
    for (folder, allowed) in allowed {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let own = manifest.lines().filter(|line| line.starts_with("releq"));
        let names = own.map(|line| line.split(['.', ' ', '=']).next().unwrap());
        let wrong: Vec<&str> = names.filter(|name| !allowed.contains(name)).collect();
        assert!(wrong.is_empty(), "{folder} may not depend on {wrong:?}");
    }
}
