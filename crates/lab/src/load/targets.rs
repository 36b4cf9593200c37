//! `twqr-lab load targets`: prints signed requests of the HTTP form, for load generators that
//! cannot sign.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use serde_json::json;
use twqr_files::print_line;
use twqr_loadgen::{
    generator::signed_request,
    scenario::Scenario,
    traffic::{MerchantList, RecentPayments, Traffic},
};

/// Payments alone, all in the HTTP form.
pub(super) const PAYMENTS: &str = "[[phase]]\nkind = \"hold\"\nseconds = 1\nrate = 1\n[mix]\npay = 1\nhttp = 1.0\n";

/// The arguments of `twqr-lab load targets`.
#[derive(clap::Args)]
pub(super) struct TargetsOptions {
    /// The address of the HTTP form
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:17080")]
    http: SocketAddr,
    /// The number of payments
    #[arg(long, default_value_t = 1_000)]
    count: u32,
    /// A file with one merchant per line: the MerchantID, a comma and its key. Without it, the
    /// requests are those of generated merchants, which `twqr-lab load tool` accepts
    #[arg(long, value_name = "FILE")]
    merchants: Option<PathBuf>,
}

/// The scenario of payments alone.
pub(super) fn payments_scenario() -> anyhow::Result<Scenario> {
    let faults = |faults: Vec<_>| anyhow::anyhow!("{} faults in the scenario of payments", faults.len());
    Scenario::parse(PAYMENTS).map_err(faults)
}

/// Prints one JSON object a line, in vegeta's format `json`. No two runs print the same
/// MerchantTradeNo.
pub(super) fn run(options: &TargetsOptions) -> anyhow::Result<()> {
    let scenario = payments_scenario()?;
    let merchants = match &options.merchants {
        None => MerchantList::generated(&scenario.merchants),
        Some(file) => {
            let text = twqr_files::read_text(file).with_context(|| file.display().to_string())?;
            MerchantList::parse(&text, &scenario.merchants).with_context(|| file.display().to_string())?
        }
    };
    let run = format!("tool{:08x}", rand::random::<u32>());
    let mut traffic = Traffic::new(&scenario, merchants.clone(), &run, 0, 1)?;
    let mut recent = RecentPayments::default();
    for _ in 0..options.count {
        let call = traffic.draw(&mut recent);
        let (path, body) = signed_request(&call.request, merchants.key(call.merchant));
        print_line(json!({
            "method": "POST", "url": format!("http://{}{path}", options.http),
            "header": { "Content-Type": ["application/json"] }, "body": base64(body.as_bytes()),
        }))?;
    }
    Ok(())
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Encodes bytes as RFC 4648 says, with padding.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or_default());
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_encoded_as_rfc_4648_says() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
