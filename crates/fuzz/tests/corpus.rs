//! Plays every input of the corpora, and what libFuzzer would do first to each: shortened, and with
//! a byte changed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{env, fs, path::PathBuf};

use twqr_fuzz::{TARGETS, seeds};

fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// The inputs of a target. `TWQR_WRITE_CORPUS=1` writes the seeds to its folder first.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = folder(target);
    if env::var_os("TWQR_WRITE_CORPUS").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (n, seed) in seeds(target).iter().enumerate() {
            fs::write(folder.join(format!("seed-{n:02}")), seed).unwrap();
        }
    }
    files(target).into_iter().map(|(_, input)| input).collect()
}

/// The committed inputs of a target, with the names of their files.
fn files(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = folder(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let read = |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    entries.map(|entry| read(entry.unwrap())).collect()
}

#[test]
fn no_input_of_the_corpora_breaks_its_target() {
    for (name, target) in TARGETS {
        let inputs = corpus(name);
        assert!(!inputs.is_empty(), "{name} has no inputs");
        for input in inputs {
            target(&input);
            let step = input.len() / 64 + 1;
            for at in (0..input.len()).step_by(step) {
                target(&input[..at]);
                let mut changed = input.clone();
                for bits in [0x01, 0x80, 0xff] {
                    changed[at] ^= bits;
                    target(&changed);
                }
            }
        }
    }
}

#[test]
fn every_committed_input_is_accepted() {
    for (name, target) in TARGETS {
        for (file, input) in files(name) {
            assert!(target(&input), "{name}/{file} is not accepted: write the seeds again (TWQR_WRITE_CORPUS=1)");
        }
    }
}

#[test]
fn every_seed_is_committed() {
    for (name, _) in TARGETS {
        let committed = corpus(name);
        for seed in seeds(name) {
            assert!(
                committed.iter().any(|input| *input == seed),
                "{name}: write the seeds again (TWQR_WRITE_CORPUS=1)"
            );
        }
    }
}
