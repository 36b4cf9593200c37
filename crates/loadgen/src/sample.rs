//! The sample day as a file: one JSON object per line, with the POS document's field names. Some
//! lines are malformed in ways that occur in real integrations. The same seed gives the same bytes.

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};
use twqr_wire::pos::PayRequest;

use crate::day;

/// The number of malformed lines in a thousand.
const MALFORMED_PER_MILLE: u32 = 20;

/// `count` lines, without line ends.
pub fn sample_day(seed: u64, count: usize) -> Vec<String> {
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x5a5a);
    let line = |request: &PayRequest| {
        let fields = fields(request);
        if random.random_range(0..1_000) < MALFORMED_PER_MILLE { malformed(fields, &mut random) } else { text(fields) }
    };
    day(seed, "day", count).iter().map(line).collect()
}

fn text(fields: Map<String, Value>) -> String {
    Value::Object(fields).to_string()
}

/// The fields with their names in the POS document (`proto/README.md`, section Fields).
fn fields(request: &PayRequest) -> Map<String, Value> {
    let named = [
        ("MerchantID", json!(request.merchant_id)),
        ("StoreID", json!(request.store_id)),
        ("StoreName", json!(request.store_name)),
        ("GatewayTradeNo", json!(request.gateway_trade_no)),
        ("MerchantTradeNo", json!(request.merchant_trade_no)),
        ("PosID", json!(request.pos_id)),
        ("PosTradeTime", json!(request.pos_trade_time)),
        ("CardToken", json!(request.card_token)),
        ("TradeAmount", json!(request.trade_amount)),
        ("UnRedeem", json!(request.un_redeem)),
        ("Remark", json!(request.remark)),
        ("Extra1", json!(request.extra1)),
        ("Extra2", json!(request.extra2)),
        ("Extra3", json!(request.extra3)),
        ("SendTime", json!(request.send_time)),
    ];
    named.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn malformed(mut fields: Map<String, Value>, random: &mut ChaCha8Rng) -> String {
    let kinds = ["not JSON", "no object", "no number", "amount as text", "unknown field", "too long", "cut off"];
    match *kinds.choose(random).unwrap_or(&"not JSON") {
        "no object" => return "[1, 2, 3]".to_owned(),
        "no number" => drop(fields.remove("MerchantTradeNo")),
        "amount as text" => drop(fields.insert("TradeAmount".to_owned(), json!("120 TWD"))),
        "unknown field" => drop(fields.insert("TradeAmmount".to_owned(), json!(120))),
        "too long" => drop(fields.insert("MerchantID".to_owned(), json!("M".repeat(11)))),
        "cut off" => {
            let text = text(fields);
            return text.chars().take(text.chars().count() / 2).collect();
        }
        _ => return "Payment;M001;120".to_owned(),
    }
    text(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = include_str!("../../../load-tests/samples/day.jsonl");

    #[test]
    fn the_file_agrees_with_its_generator() {
        let generated = sample_day(7, 1_200);
        let lines: Vec<&str> = FILE.lines().collect();
        assert!(
            generated == lines,
            "load-tests/samples/day.jsonl differs from its generator; run `make sample` to write it again"
        );
    }

    #[test]
    fn the_file_has_malformed_lines_and_every_issuer() {
        let lines: Vec<&str> = FILE.lines().collect();
        let not_json = lines.iter().filter(|line| serde_json::from_str::<Value>(line).is_err()).count();
        assert!(not_json > 3, "{not_json}");
        for codes in crate::ISSUERS {
            let is_paid = |line: &&&str| line.contains(&format!(r#""CardToken":"{}"#, codes.prefix));
            assert!(lines.iter().filter(is_paid).count() > 10, "{}", codes.prefix);
        }
    }
}
