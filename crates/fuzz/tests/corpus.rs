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
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
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
fn every_seed_is_taken() {
    for (name, target) in TARGETS {
        for seed in seeds(name) {
            target(&seed);
        }
    }
}
