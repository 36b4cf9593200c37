//! Tests of the scenario files in `load-tests/scenarios`, and of the command's arguments.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use super::*;
use twqr_simulator::Script;

/// The scenarios that the project ships.
const SHIPPED: [&str; 21] = [
    "baseline",
    "broker-down",
    "cold-start",
    "ebb-and-flow",
    "flood",
    "flood-caller",
    "hot-merchant",
    "issuer-down",
    "issuer-slow",
    "long-idle",
    "overload",
    "overload-kafka",
    "poison",
    "repeat-storm",
    "rolling-restart",
    "services",
    "soak",
    "soak-embedded",
    "spike",
    "staircase",
    "stream",
];

#[test]
fn every_scenario_file_is_valid_and_described() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../load-tests/scenarios"));
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let read = NamedScenario::read(&path.to_string_lossy()).unwrap();
        let script = Script::parse(&read.scenario.simulator.to_string());
        assert!(script.is_ok(), "{}: {script:?}", path.display());
        assert!(read.scenario.description.split_whitespace().count() >= 5, "{}", path.display());
        assert!(!read.scenario.thresholds.is_empty(), "{}", path.display());
        names.push(read.name);
    }
    names.sort();
    assert_eq!(names, SHIPPED);
    let readme = std::fs::read_to_string(folder.join("../README.md")).unwrap();
    for name in names {
        assert!(readme.contains(&format!("`{name}`")), "load-tests/README.md does not name {name}");
    }
}

#[test]
fn a_process_and_a_factor_are_parsed_strictly() {
    assert_eq!("router=7".parse(), Ok(NamedProcess { name: "router".into(), id: 7 }));
    for wrong in ["router", "router=x", "router=-1"] {
        assert!(wrong.parse::<NamedProcess>().is_err(), "{wrong}");
    }
    assert_eq!(factor("0.5"), Ok(0.5));
    for wrong in ["0", "nan", "1001", "x"] {
        assert!(factor(wrong).is_err(), "{wrong}");
    }
}
