//! What no refusal may name: hosts, paths and files of ours, and what a faulty journal says.

#![allow(unreachable_pub, clippy::missing_panics_doc, reason = "a test fails by panicking")]

/// Parts of such names, in lower case.
const OURS: [&str; 10] =
    ["/var", "/tmp", "/etc", "internal", "9092", "127.0.0.1", "localhost", ".rs", "keys.toml", "planted"];

/// Fails if one of these texts, which a caller has read, contains one of them.
pub fn assert_absent(read: &[String]) {
    for text in read {
        let lower = text.to_lowercase();
        for ours in OURS {
            assert!(!lower.contains(ours), "a refusal contains {ours:?}: {text}");
        }
    }
}
