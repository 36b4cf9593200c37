//! A target under libFuzzer. `TWQR_FUZZ_TARGET` names it.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use twqr_fuzz::TARGETS;

static TARGET: LazyLock<fn(&[u8]) -> bool> = LazyLock::new(|| {
    let name = std::env::var("TWQR_FUZZ_TARGET").unwrap_or_default();
    let target = TARGETS.iter().find(|(target, _)| *target == name);
    #[allow(clippy::expect_used, reason = "without a target there is nothing to do")]
    target.expect("TWQR_FUZZ_TARGET must be the name of a target").1
});

fuzz_target!(|input: &[u8]| {
    TARGET(input);
});
