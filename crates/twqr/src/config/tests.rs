//! What `twqr config` promises: the default file is the defaults, and every fault is told, with its key.

use super::*;

fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::parse("twqr.toml", text, variables).map_err(|invalid| invalid.to_string())
}

#[test]
fn the_default_file_gives_the_defaults() {
    let defaults = Config::defaults().unwrap();
    let file = defaults.to_toml();
    assert_eq!(parse(&file, &[]).unwrap(), defaults, "{file}");
    let values = |file: &str| file.lines().filter(|line| line.contains(" = ") && !line.starts_with('#')).count();
    assert!(values(&file) > 10, "{file}");
    assert!(file.lines().all(|line| line.chars().count() <= 200), "{file}");
}

#[test]
fn every_fault_names_its_key_and_what_is_allowed() {
    for (text, variables, expected) in [
        ("[admin]\nlisten = 9090", &[][..], "admin.listen: is 9090, must be an IP address and a port"),
        ("[admin]\nlisten = '0.0.0.0:9090'", &[], "admin.listen: is 0.0.0.0:9090, which other machines reach"),
        ("[admin]\nport = 1", &[], "admin.port: is unknown; allowed here: listen, expose"),
        ("[admni]\nport = 1", &[], "admni: is unknown; allowed here: runtime, log, admin, ingress"),
        ("admin = 1", &[], "admin: is 1, must be a table with the keys listen, expose"),
        ("[runtime]\nworker_threads = 0", &[], "runtime.worker_threads: is 0, must be 1 to 64"),
        ("[runtime]\nworker_threads = -1", &[], "runtime.worker_threads: is -1, must be a whole number from 0 to"),
        ("[runtime]\nworker_threads = '2'", &[], "runtime.worker_threads: is \"2\", must be a whole number"),
        ("", &[("TWQR_RUNTIME__WORKER_THREADS", "x")], "(set by TWQR_RUNTIME__WORKER_THREADS)"),
        ("", &[("TWQR_RUNTIME__THREADS", "1")], "runtime.threads: is unknown"),
        ("[log]\nlevel = 'loud'", &[], "log.level: is \"loud\", must be error, warn, info"),
        ("[log]\nformat = 'xml'", &[], "log.format: is \"xml\", must be \"text\" or \"json\""),
        ("[policy]\nsend_within_ms = 99", &[], "policy.send_within_ms: is 99, must be 100 to 60000"),
        ("[policy]\nfisc_abnormal = '000'", &[], "policy.fisc_abnormal: is \"000\", must be three digits, not 000"),
        ("[policy]\nroutes = []", &[], "policy.routes: at least one route is needed"),
        ("[policy]\nroutes = [{ prefix = 'IC' }]", &[], "policy.routes[0].institution: is missing, must be"),
        (
            "[policy]\nroutes = [{ prefix = 'IC', institution = '39', code_lengths = [20] }]",
            &[],
            "policy.routes[0].institution: is \"39\", must be an institution code",
        ),
        (
            "[policy]\nroutes = [{ prefix = 'IC', institution = '392', code_lengths = [1] }]",
            &[],
            "policy.routes[0].code_lengths: must be one or more lengths from 2 to 64",
        ),
        ("[admin\n", &[], "twqr.toml: is not TOML: TOML parse error at line 1"),
    ] {
        let faults = parse(text, variables).unwrap_err();
        assert!(faults.contains(expected), "{text:?} {variables:?}\n{faults}\nlacks {expected:?}");
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let faults =
        parse("[runtime]\nworker_threads = 0\n[log]\nformat = 1\nlevle = 'info'\n[nothing]\n", &[]).unwrap_err();
    assert_eq!(faults.lines().count(), 1 + 4, "{faults}");
}

#[test]
fn variables_stand_above_the_file() {
    let text = "[runtime]\nworker_threads = 3\n[admin]\nexpose = true";
    let variables = [
        ("TWQR_RUNTIME__WORKER_THREADS", "5"),
        ("TWQR_ADMIN__LISTEN", "0.0.0.0:9999"),
        ("TWQR_SERVICE_HOST", "10.0.0.1"),
        ("HOME", "/root"),
    ];
    let config = parse(text, &variables).unwrap();
    assert_eq!(config.runtime.worker_threads, 5);
    assert_eq!(config.admin.listen.to_string(), "0.0.0.0:9999");
}

#[test]
fn a_named_file_must_exist() {
    let error = Config::load(Some(Path::new("/nonexistent/twqr.toml")), []).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/twqr.toml: cannot be read"), "{error}");
}
