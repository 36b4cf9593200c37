//! The defaults and their explanations, the fault of each wrong setting, and the override by the
//! environment.

use super::*;

fn load(text: &str, variables: &[(&str, &str)]) -> anyhow::Result<Config> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("twqr.toml");
    std::fs::write(&file, text).unwrap();
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
    Config::from_sources(Some(&file), variables)
}

#[test]
fn the_printed_defaults_are_valid_and_equal_the_defaults() {
    let printed = Config::printed_defaults().unwrap();
    assert_eq!(load(&printed, &[]).unwrap(), Config::default());
}

#[test]
fn every_key_is_explained() {
    let table: toml::Table = toml::from_str(&toml::to_string(&Config::default()).unwrap()).unwrap();
    for key in table.keys() {
        assert!(KEYS.contains(key), "{key} is not explained in keys.toml");
    }
}

#[test]
fn each_fault_names_its_key() {
    for (text, expected) in [
        ("grcp = \"127.0.0.1:1\"", "unknown field `grcp`"),
        ("simulator_data_dir = \"x\"", "simulator_data_dir moved to the laboratory"),
        ("shards = 0", "shards"),
        ("shards = 4\ntask_partitions = 5", "task_partitions is 5, must be 1 to 4"),
        ("answer_within_ms = 15000\ncalls_max = 0", "answer_within_ms is 15000, must be 100 to 14000; calls_max is 0"),
        ("grpc = \"here\"", "grpc"),
        (
            "[admission]\ndelay_ms = 9\nlimit_min = 3",
            "admission.delay_ms is 9, must be 10 to 1000; admission.limit_min is 3, must be 4 to 2048",
        ),
        ("[admission]\nlimit_max = 7", "admission.limit_min is 32, must be 4 to 7"),
        ("[kafka]\nmin_insync = 2", "kafka.min_insync is 2, must be 1 to 1"),
        ("[kafka]\nreplication = 3\nmin_insync = 1", "kafka.min_insync is 1, must be 2 to 3"),
        ("[kafka]\nreplication = 3", "kafka.min_insync is 1, must be 2 to 3"),
        (
            "[kafka.properties]\n\"sasl.password\" = \"SECRET\"",
            "sasl.password is a secret; put it into a file and name that in kafka.password_file",
        ),
        (
            "[kafka.properties]\n\"ssl.key.password\" = \"SECRET\"",
            "ssl.key.password is a secret; put it into a file and name that in kafka.property_files",
        ),
        ("[kafka.properties]\n\"ssl.keystore.password\" = \"SECRET\"", "ssl.keystore.password is a secret"),
        ("[kafka.properties]\n\"ssl.key.pem\" = \"SECRET\"", "ssl.key.pem is a secret"),
        (
            "[kafka.properties]\n\"sasl.oauthbearer.client.secret\" = \"SECRET\"",
            "sasl.oauthbearer.client.secret is a secret",
        ),
        (
            "[kafka.property_files]\n\"sasl.password\" = \"a\"",
            "kafka.property_files: sasl.password belongs into kafka.password_file",
        ),
        (
            "[kafka.properties]\n\"ssl.ca.pem\" = \"a\"\n[kafka.property_files]\n\"ssl.ca.pem\" = \"b\"",
            "kafka.property_files: ssl.ca.pem stands in kafka.properties, too",
        ),
        ("[kafka.properties]\n\"sasl.password\" = [\"SECRET\"]", "sasl.password must be text in quotes"),
        ("shards = 1\n\"sasl.password\" = SECRET", "twqr.toml, line 2: "),
        ("shards = 1\nshards = \"SECRET\"", "twqr.toml, line 2: "),
        ("member = true", "member: must be text"),
        (
            "[[policy.issuers]]\ninstitution = \"004\"\nlimits = { open_ms = 1 }",
            "policy.issuers[0].limits.open_ms: is 1, must be 10 to 600000",
        ),
        (
            "[policy]\ncut_off = \"24:00\"\n[settlement.layout]\nencoding = \"latin1\"",
            "settlement.layout.encoding is \"latin1\"",
        ),
        (
            "[policy]\ncut_off = \"24:00\"",
            "policy.cut_off: is \"24:00\": a cut-off is a time of day of the form HH:MM, 00:00 to 23:59 (Asia/Taipei)",
        ),
        ("[settlement]\ncut_off = \"02:00\"", "settlement.cut_off was renamed to policy.cut_off"),
        (
            "[[policy.issuers]]\ninstitution = \"004\"\n[[policy.issuers.maintenance]]\nfrom = \"now\"\nto = \"2026-12-01T04:00:00+08:00\"",
            "policy.issuers[0].maintenance[0]",
        ),
        (
            "[[policy.issuers]]\ninstitution = \"004\"\n[[policy.issuers.maintenance]]\nfrom = \"2026-12-01T05:00:00+08:00\"\nto = \"2026-12-01T04:00:00+08:00\"",
            "policy.issuers[0].maintenance[0]",
        ),
    ] {
        let error = format!("{:#}", load(text, &[]).unwrap_err());
        assert!(error.contains(expected) && error.contains("twqr.toml"), "{error}");
        assert!(!error.contains("SECRET"), "{error}");
    }
}

#[test]
fn default_ports_are_below_those_of_outgoing_connections() {
    let Config { grpc, pos_http, admin, operators, wallet, fisc, .. } = Config::default();
    let peers = [wallet, fisc].map(|peer| peer.socket_address().unwrap());
    for address in [grpc, pos_http, admin, operators].into_iter().chain(peers) {
        assert!((1_024..32_768).contains(&address.port()), "{address}");
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    for (text, expected) in [
        ("grpc = \"0.0.0.0:17090\"", "admin is 127.0.0.1:17090, must have another port than grpc"),
        ("wallet = \"http://wallet:1\"", "wallet is \"http://wallet:1\", must be host:port"),
        ("fisc = \"fisc\"", "fisc is \"fisc\", must be host:port"),
        ("[kafka]\nbootstrap = \"kafka\"", "kafka.bootstrap contains \"kafka\", must be host:port"),
        (
            "[[policy.issuers]]\ninstitution = \"\"\n[[policy.issuers]]\ninstitution = \"391\"\nwindow_ms = 4000",
            "policy.issuers[1].window_ms: is 4000, must be above call_timeout_ms, which is 4000",
        ),
        (
            "[[policy.issuers]]\ninstitution = \"\"\nwindow_ms = 4900",
            "policy.issuers[0].window_ms: is 4900, must be above 4900: a worker's connection may hold a request back for 4500",
        ),
        (
            "clock_skew_max_ms = 750\n[policy]\nissuers = []",
            "policy.routes[0]: the default of window_ms: is 6000, must be above 6000: a worker's connection",
        ),
        (
            "[[policy.issuers]]\ninstitution = \"\"\nwindow_ms = 8000",
            "policy.issuers[0].window_ms: is 8000, and with send_within_ms and first_delay_ms 12000, must be below answer_within_ms",
        ),
        (
            "answer_within_ms = 9999\n[policy]\nissuers = []",
            "policy.routes[0]: the default of window_ms: is 6000, and with send_within_ms and first_delay_ms 10000",
        ),
        (
            "call_timeout_ms = 10000\n[policy]\nissuers = []",
            "policy.routes[0]: the default of window_ms: is 6000, must be above call_timeout_ms",
        ),
    ] {
        let error = format!("{:#}", load(text, &[]).unwrap_err());
        assert!(error.contains(expected) && error.contains("twqr.toml"), "{error}");
    }
}

#[test]
fn admin_beyond_loopback_demands_certificates_or_is_open_in_so_many_words() {
    let own = "certificate_file = \"a\"\nkey_file = \"b\"\n";
    let asked = "client_ca_file = \"c\"\n";
    for (text, is_allowed) in [
        (String::new(), false),
        ("[access]\ninsecure = true\n".to_owned(), false),
        ("[access]\ninsecure_admin = true\n".to_owned(), true),
        (format!("[tls.admin]\n{own}"), false),
        (format!("[tls.admin]\n{own}{asked}"), true),
        (format!("[tls.admin]\n{own}{asked}client_certificates = \"required\"\n"), true),
        (format!("[tls.admin]\n{own}{asked}client_certificates = \"optional\"\n"), false),
    ] {
        let loaded = load(&format!("admin = \"0.0.0.0:17090\"\n{text}"), &[]).map_err(|error| format!("{error:#}"));
        let is_refused = loaded.as_ref().is_err_and(|error| error.contains("admin is 0.0.0.0:17090, which others"));
        assert_eq!((loaded.is_ok(), is_refused), (is_allowed, !is_allowed), "{text}: {loaded:?}");
        assert!(load(&text, &[]).is_ok(), "on loopback: {text}");
    }
}

#[test]
fn the_environment_overrides_the_file() {
    let variables =
        [("TWQR__GRPC", "127.0.0.1:7"), ("TWQR__CALLS_MAX", "9"), ("TWQR__POLICY__NAME", "x"), ("TWQR_LOG", "info")];
    let config = load("calls_max = 8\nshards = 3", &variables).unwrap();
    assert_eq!((config.grpc.port(), config.calls_max, config.shards.map(NonZeroU32::get)), (7, 9, Some(3)));
    assert_eq!(config.policy().unwrap().name, "x");
    let error = format!("{:#}", load("", &[("TWQR__CALLS_MAX", "many")]).unwrap_err());
    assert!(error.contains("calls_max"), "{error}");
    assert!(load("", &[("TWQR__GRPC__X", "1")]).is_err());
}

#[test]
fn peers_are_named_by_the_environment() {
    let config = load("", &[("TWQR__WALLET", "wallet.payments.svc:50061"), ("TWQR__FISC", "10.0.0.1:7")]).unwrap();
    assert_eq!(config.wallet.to_string(), "wallet.payments.svc:50061");
    assert_eq!(config.fisc.to_string(), "10.0.0.1:7");
}

#[test]
fn variables_of_chosen_keys_are_ignored_whatever_they_hold() {
    let variable = |(name, value): (&str, &str)| (OsString::from(name), OsString::from(value));
    let variables = [("TWQR__GRPC", "127.0.0.1:17090"), ("TWQR__KAFKA__PREFIX", "no prefix!"), ("TWQR__SHARDS", "3")];
    let load = |chosen: &[&str]| {
        Config::from_sources(None, crate::source::without(variables.map(variable).into_iter(), chosen))
    };
    let config = load(&["grpc", "kafka.prefix"]).unwrap();
    assert_eq!(config, Config { shards: config.shards, ..Config::default() });
    assert_eq!(config.shards, NonZeroU32::new(3));
    assert!(load(&["grpc"]).is_err() && load(&["kafka.prefix"]).is_err());
}

#[test]
fn a_variable_that_is_not_utf_8_is_a_fault_unless_it_is_anothers() {
    use std::os::unix::ffi::OsStringExt;
    let load = |name: &[u8], value: &[u8]| {
        let variable = (OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec()));
        Config::from_sources(None, std::iter::once(variable)).map_err(|error| format!("{error:#}"))
    };
    for (name, value) in [(&b"TWQR__MEMBER"[..], &b"SECRET\xff"[..]), (b"TWQR__\xff", b"SECRET")] {
        let error = load(name, value).unwrap_err();
        assert!(error.contains("TWQR__") && error.contains("is not UTF-8") && !error.contains("SECRET"), "{error}");
    }
    assert_eq!(load(b"OTHER\xff", b"\xff"), Ok(Config::default()));
}

#[test]
fn what_is_fixed_at_creation_stays_as_recorded_unless_it_is_configured() {
    let layout = |text: &str, recorded: Option<(u32, u32)>| {
        let config = load(text, &[]).unwrap();
        let recorded =
            recorded.map(|(shards, task_partitions)| Layout { shards, task_partitions, ..config.layout(None) });
        let layout = config.layout(recorded.as_ref());
        (layout.shards, layout.task_partitions)
    };
    assert_eq!(layout("", None), (4, 1));
    assert_eq!(layout("", Some((8, 2))), (8, 2));
    assert_eq!(layout("shards = 4", Some((8, 1))), (4, 1));
    assert_eq!(layout("task_partitions = 5", None), (5, 5));
    assert_eq!(layout("task_partitions = 4", Some((8, 4))), (8, 4));
    assert_eq!(layout("shards = 1", None), (1, 1));
    assert_eq!(layout("shards = 1024", None), (1_024, 8));
    let embedded = Config::default().embedded(PathBuf::new());
    assert_eq!((embedded.shards.get(), embedded.task_partitions.get()), (8, 2));
}
