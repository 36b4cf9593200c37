//! A table of changes of the document, and the lines that must describe them.

use super::*;
use crate::policy::PolicyDocument;

const BEFORE: &str = r#"
name = "before"
protocol_version = 1
[[routes]]
prefix = "22"
code_lengths = [18, 20]
[[routes]]
prefix = "QX"
institution = "391"
code_lengths = [20]
[[issuers]]
institution = "391"
window_ms = 3000
[[issuers.maintenance]]
from = "2026-12-01T02:00:00+08:00"
to = "2026-12-01T04:00:00+08:00"
[[merchants]]
id = "M1"
payment_max = 100
[[merchants.stores]]
id = "S1"
[[merchants]]
id = "M2"
"#;

fn policy(text: &str) -> Policy {
    toml::from_str::<PolicyDocument>(text).unwrap().policy().unwrap()
}

#[test]
fn each_difference_is_a_line() {
    let cases: [(&str, &str, &[&str]); 19] = [
        ("name = \"before\"", "name = \"after\"", &["~ name: \"before\" -> \"after\""]),
        ("name =", "fisc_abnormal = \"990\"\nname =", &["~ fisc_abnormal: 982 -> 990"]),
        ("name =", "send_within_ms = 4000\nname =", &["~ send_within_ms: 3000 -> 4000"]),
        ("[18, 20]", "[20, 18]", &[]),
        ("[18, 20]", "[18]", &["~ route 22 code_lengths: 18 or 20 -> 18"]),
        ("institution = \"391\"\ncode", "refuse = true\ncode", &["~ route QX to: 391 -> refuse"]),
        (
            "prefix = \"QX\"",
            "prefix = \"QY\"",
            &[
                "- route QX: to 391, code_lengths 20, alphabet printable",
                "+ route QY: to 391, code_lengths 20, alphabet printable",
            ],
        ),
        ("window_ms = 3000", "", &["~ issuer 391 window_ms: 3000 -> 6000"]),
        (
            "window_ms = 3000",
            "idempotent_charges = true\nwindow_ms = 3000",
            &["~ issuer 391 idempotent_charges: false -> true"],
        ),
        (
            "window_ms = 3000",
            "refund = { scope = \"none\", window_days = 7 }\nwindow_ms = 3000",
            &["~ issuer 391 refund.scope: partial -> none", "~ issuer 391 refund.window_days: no limit -> 7"],
        ),
        (
            "T04:00",
            "T05:00",
            &[
                "~ issuer 391 maintenance: 2026/12/01 02:00:00 to 2026/12/01 04:00:00 -> 2026/12/01 02:00:00 to 2026/12/01 05:00:00",
            ],
        ),
        ("[[merchants]]\nid = \"M1\"", "[[issuers]]\ninstitution = \"004\"\n[[merchants]]\nid = \"M1\"", &[]),
        (
            "[[merchants]]\nid = \"M1\"",
            "[[issuers]]\ninstitution = \"004\"\nlimits = { open_ms = 10 }\n[[merchants]]\nid = \"M1\"",
            &["~ issuer 004 limits.open_ms: 2000 -> 10"],
        ),
        ("payment_max = 100\n", "payment_max = 100\nkeys = [\"a\", \"b\"]\n", &["~ merchant M1 keys: each -> a or b"]),
        ("payment_max = 100\n", "", &["~ merchant M1 payment_max: 100 -> no limit"]),
        ("id = \"S1\"", "id = \"S1\"\nopen = false", &["~ store M1/S1 open: true -> false"]),
        (
            "[[merchants.stores]]\nid = \"S1\"\n",
            "",
            &[
                "~ merchant M1 stores: only those listed -> every StoreID",
                "- store M1/S1: payment_max no limit, open true",
            ],
        ),
        (
            "id = \"M2\"",
            "id = \"M3\"\n[[merchants.stores]]\nid = \"S9\"",
            &[
                "- merchant M2: payment_max no limit, open true, keys each",
                "+ merchant M3: payment_max no limit, open true, keys each",
                "+ store M3/S9: payment_max no limit, open true",
            ],
        ),
        ("before", "before", &[]),
    ];
    for (from, to, expected) in cases {
        assert!(BEFORE.contains(from), "{from}");
        let after = BEFORE.replacen(from, to, 1);
        assert_eq!(changes(&policy(BEFORE), &policy(&after)), expected, "{from} -> {to}");
    }
}

#[test]
fn the_first_merchant_excludes_all_others() {
    let listed = policy(BEFORE);
    let open = Policy { merchants: Vec::new(), ..listed.clone() };
    let lines = changes(&open, &listed);
    assert_eq!(lines[0], "~ merchants: everybody -> only those listed");
    assert_eq!(changes(&listed, &open)[0], "~ merchants: only those listed -> everybody");
}
