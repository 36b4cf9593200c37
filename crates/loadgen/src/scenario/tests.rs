//! Tests of scenario files: faults with their places, defaults, and the files in `load-tests/`.

use super::*;

const SMALL: &str = "[[phase]]\nkind = \"hold\"\nseconds = 1\nrate = 10\n";

#[test]
fn every_fault_is_named_with_its_line() {
    let text = "seeds = 1\narrivals = \"odd\"\nthresholds = [\"p99_ms <= 25\",\n\"p98 < 1\", \"errors 0\", \"errors == x\"]\n\
                [[phase]]\nkind = \"hold\"\nseconds = \"1\"\nrate = -3\n[mix]\npay = true\nbuy = 1\n[issuers]\n999 = 1\n\
                [client]\nattempts = 1.5\n[merchants]\ncount = 0\n";
    let faults = Scenario::parse(text).unwrap_err();
    let found: Vec<(usize, &str)> = faults.iter().map(|fault| (fault.line, fault.place.as_str())).collect();
    assert_eq!(
        found,
        [
            (1, "seeds"),
            (2, "arrivals"),
            (4, "thresholds"),
            (4, "thresholds"),
            (4, "thresholds"),
            (7, "phase.seconds"),
            (8, "phase.rate"),
            (10, "mix.pay"),
            (11, "mix.buy"),
            (13, "issuers.999"),
            (15, "client.attempts"),
            (17, "merchants.count"),
        ],
        "{faults:#?}"
    );
    assert!(
        faults.iter().any(|fault| fault.to_string().contains("line 8: phase.rate: is -3, must be a number from 0"))
    );
    assert_eq!(Scenario::parse("seed = = 1").unwrap_err()[0].line, 1);
}

#[test]
fn keys_must_make_sense_together() {
    for (text, place) in [
        ("seed = 1", "phase"),
        ("[[phase]]\nkind = \"hold\"\nseconds = 1", "phase.rate"),
        ("[[phase]]\nkind = \"wave\"\nseconds = 1\nrate = 1\nto_rate = 2", "phase.period_s"),
        ("[[phase]]\nkind = \"steps\"\nseconds = 1\nrate = 3\nto_rate = 2\nstep = 1", "phase.step"),
        ("[[phase]]\nkind = \"hold\"\nrate = 1", "file"),
        (&format!("{SMALL}[mix]\npay = 0"), "mix.pay"),
        (&format!("{SMALL}[mix]\nhttp = 0.6\ngrpc_stream = 0.5"), "mix.grpc_stream"),
        (&format!("{SMALL}[issuers]\nwallet = 0"), "issuers"),
        (&format!("{SMALL}[[fault]]\nat_s = 1\naction = \"kill\""), "fault.process"),
        (&format!("{SMALL}[[fault]]\nat_s = 1\naction = \"kill-broker\"\nprocess = \"1\""), "fault.action"),
    ] {
        let faults = Scenario::parse(text).unwrap_err();
        assert_eq!(faults[0].place, place, "{text}: {faults:?}");
    }
}

#[test]
fn a_flood_has_a_rate_and_that_of_a_caller_has_both_of_its_limits_below_it() {
    let flood = |action: &str, keys: &str| format!("{SMALL}[[fault]]\nat_s = 1\naction = \"{action}\"\n{keys}\n");
    let of_caller = flood("flood-caller", "rate = 9\ncalls_per_s = 8\ncalls_max = 1");
    for text in [flood("flood", "rate = 9"), of_caller.clone()] {
        assert!(Scenario::parse(&text).is_ok(), "{text}");
    }
    let again = of_caller.strip_prefix(SMALL).unwrap();
    for (text, place) in [
        (flood("flood", ""), "fault.rate"),
        (flood("flood", "rate = 9\ncalls_per_s = 8"), "fault.calls_per_s"),
        (flood("restart-all", "calls_max = 1"), "fault.calls_per_s"),
        (flood("flood-caller", "calls_per_s = 8\ncalls_max = 1"), "fault.rate"),
        (flood("flood-caller", "rate = 9\ncalls_max = 1"), "fault.calls_per_s"),
        (flood("flood-caller", "rate = 9\ncalls_per_s = 8"), "fault.calls_per_s"),
        (flood("flood-caller", "rate = 8\ncalls_per_s = 8\ncalls_max = 1"), "fault.rate"),
        (format!("{of_caller}[system]\nmerchant_calls_per_s = 5"), "fault.action"),
        (format!("{of_caller}{again}"), "fault.action"),
    ] {
        let faults = Scenario::parse(&text).unwrap_err();
        assert_eq!(faults[0].place, place, "{text}: {faults:?}");
    }
}

#[test]
fn each_key_is_explained_and_has_the_default_that_it_names() {
    let explained = explain();
    for key in KEYS {
        assert!(explained.contains(&format!("\n{}\n", key.path)), "{}", key.path);
        assert!(key.about.split_whitespace().count() >= 3, "{}: {:?}", key.path, key.about);
    }
    let with_default = |key: &&ScenarioKey| !key.default.is_empty() && !key.path.starts_with("phase.");
    let lines: Vec<String> =
        KEYS.iter().filter(with_default).map(|key| format!("{} = {}", key.path, key.default)).collect();
    let lines = lines.join("\n");
    let explicit = Scenario::parse(&format!("{lines}\n{SMALL}knee_p99_ms = 50.0\nwarm_up = false")).unwrap();
    assert_eq!(explicit, Scenario::parse(SMALL).unwrap());
}

/// Every field that the types read is a key of the table: serde knows no further name.
#[test]
fn the_types_and_the_table_have_the_same_keys() {
    for key in KEYS.iter().filter(|key| key.path != "simulator") {
        let table = key.path.split('.').next().unwrap_or_default();
        let (name, value) = (key.path.replace('*', "wallet"), sample_value(key));
        let line = name.rsplit('.').next().unwrap_or_default();
        let text = match table {
            "phase" => format!("[[phase]]\n{line} = {value}\n"),
            "fault" => format!("[[fault]]\n{line} = {value}\n"),
            _ => format!("{name} = {value}\n"),
        };
        let error = toml::from_str::<Scenario>(&text).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(!error.contains("unknown field"), "{}: {error}", key.path);
    }
}

fn sample_value(key: &ScenarioKey) -> String {
    match key.form {
        keys::Form::Text => "\"x\"".into(),
        keys::Form::Texts => "[]".into(),
        keys::Form::Whole(low, _) => low.to_string(),
        keys::Form::Number(low, _) => format!("{low:?}"),
        keys::Form::Flag => "true".into(),
        keys::Form::OneOf(names) => format!("{:?}", names[0]),
        keys::Form::Foreign => "{}".into(),
    }
}

#[test]
fn a_threshold_is_met_or_missed() {
    for (text, value, met) in [
        ("p99_ms <= 25", 25.0, true),
        ("p99_ms<25", 25.0, false),
        ("errors == 0", 0.0, true),
        ("errors == 0", 1.0, false),
        ("knee_rate >= 3000", 2_999.0, false),
        ("pause_ms > 1.5", 1.6, true),
    ] {
        assert_eq!(Threshold::parse(text).unwrap().is_met_by(value), met, "{text}");
    }
    assert_eq!(Threshold::parse("p99_ms<25").unwrap().to_string(), "p99_ms < 25");
}

#[test]
fn scaling_changes_rates_and_times() {
    let scenario = Scenario::parse(&format!("{SMALL}[[fault]]\nat_s = 8\naction = \"restart-all\"\n")).unwrap();
    let scaled = scenario.clone().scaled(2.0, 0.5);
    assert_eq!((scaled.phases[0].rate, scaled.phases[0].seconds, scaled.faults[0].at_s), (20.0, 0.5, 4.0));
    // Limits are rates, too. A limit stays at least 1, since 0 means no limit.
    for (limit, rates, expected) in [(0, 3.0, 0), (200, 0.05, 10), (1, 0.01, 1)] {
        let mut scenario = scenario.clone();
        scenario.system.merchant_calls_per_s = limit;
        (scenario.faults[0].calls_per_s, scenario.faults[0].calls_max) = (limit, limit);
        let scaled = scenario.scaled(rates, 1.0);
        let limits = [scaled.system.merchant_calls_per_s, scaled.faults[0].calls_per_s, scaled.faults[0].calls_max];
        assert_eq!(limits, [expected; 3], "{limit} {rates}");
    }
}
