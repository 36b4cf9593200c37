//! Brokers that were started with `SECURE=1 deploy/kafka/up`: each process logs in to them over
//! TLS, with a certificate, as the user of its program. Passwords can be replaced while they run.
//! Files with certificates and authorities can be, too, but a broker reads them at its start alone.

use std::{
    ffi::OsString,
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use tokio::process::Command;

use super::certificates::{Authority, SERVERS};

/// Variables of a process.
type Variables = [(&'static str, OsString); 7];

/// The variables that name the trusted authorities, the certificate of a process and its key.
const AUTHORITIES: &str = "TWQR__KAFKA__PROPERTIES__SSL.CA.LOCATION";
const CERTIFICATE: &str = "TWQR__KAFKA__PROPERTIES__SSL.CERTIFICATE.LOCATION";
const KEY: &str = "TWQR__KAFKA__PROPERTIES__SSL.KEY.LOCATION";
/// The files, in the folder `tls`, with the authorities that clients and brokers trust, and with
/// the certificates and keys of both.
const CLIENTS_TRUST: &str = "ca.pem";
const BROKERS_TRUST: &str = "broker-ca.pem";
const CLIENTS: &str = "client.pem";
const BROKERS: &str = "broker.pem";
/// What clients trusted and showed before they changed it.
const CLIENTS_TRUSTED: &str = "replaced-ca.pem";
const CLIENTS_REPLACED: &str = "replaced-client.pem";
/// The common name of the brokers' certificates: by it a broker is a user that may do everything.
const BROKER_NAME: &str = "broker";

/// The mechanisms of the first and of the renewed passwords: a user has one password for each.
const OLD: &str = "SCRAM-SHA-512";
const NEW: &str = "SCRAM-SHA-256";

/// The folder of such a broker.
#[derive(Clone, Debug)]
pub struct SecureBroker(PathBuf);

impl SecureBroker {
    /// The broker in a folder of `deploy/kafka/up`; `None` if that broker has no users.
    pub fn in_folder(dir: &Path) -> anyhow::Result<Option<Self>> {
        Ok(dir.join("users").is_dir().then_some(Self(std::path::absolute(dir)?)))
    }

    /// The variables with which a subcommand of `twqr` logs in as its user.
    pub fn variables(&self, subcommand: &str) -> Variables {
        let renewed = self.renewed_file(subcommand);
        let (mechanism, password) =
            if renewed.exists() { (NEW, renewed) } else { (OLD, self.0.join("users").join(subcommand)) };
        [
            ("TWQR__KAFKA__PROPERTIES__SECURITY.PROTOCOL", "sasl_ssl".into()),
            ("TWQR__KAFKA__PROPERTIES__SASL.MECHANISM", mechanism.into()),
            ("TWQR__KAFKA__PROPERTIES__SASL.USERNAME", subcommand.into()),
            (AUTHORITIES, self.tls(CLIENTS_TRUST).into()),
            (CERTIFICATE, self.tls(CLIENTS).into()),
            (KEY, self.tls(CLIENTS).into()),
            ("TWQR__KAFKA__PASSWORD_FILE", password.into()),
        ]
    }

    /// The variables with which a process shows the certificate that [`Self::renew_clients`] has
    /// replaced.
    pub(crate) fn replaced_certificate(&self) -> Vec<(&'static str, OsString)> {
        [CERTIFICATE, KEY].map(|name| (name, OsString::from(self.tls(CLIENTS_REPLACED)))).into()
    }

    /// The variables with which a process trusts only what it trusted before
    /// [`Self::renew_clients`].
    pub(crate) fn replaced_authority(&self) -> Vec<(&'static str, OsString)> {
        vec![(AUTHORITIES, self.tls(CLIENTS_TRUSTED).into())]
    }

    fn tls(&self, name: &str) -> PathBuf {
        self.0.join("tls").join(name)
    }

    /// The file with the password that [`Self::renew_password`] has given to a user.
    fn renewed_file(&self, user: &str) -> PathBuf {
        self.0.join("users").join(format!("{user}.{NEW}"))
    }

    /// The passwords of all users.
    pub(crate) fn passwords(&self) -> anyhow::Result<Vec<String>> {
        let read = |entry: std::io::Result<fs::DirEntry>| fs::read_to_string(entry?.path());
        let passwords = fs::read_dir(self.0.join("users"))?.map(read);
        let passwords: std::io::Result<Vec<String>> = passwords.collect();
        Ok(passwords?.into_iter().map(|password| password.trim().to_owned()).collect())
    }

    /// Gives a user a second password, under the other mechanism. Processes that start from now on
    /// log in with it; the first one stays valid. `configure` runs Kafka's tool.
    pub(crate) async fn renew_password(&self, user: &str, configure: &mut Command) -> anyhow::Result<()> {
        let password = format!("{:032x}", rand::random::<u128>());
        let altered = alter(user, configure.args(["--add-config", &format!("{NEW}=[password={password}]")])).await;
        // Kafka's tool repeats its arguments in an error.
        altered.map_err(|error| anyhow::anyhow!(format!("{error:#}").replace(&password, "(the new password)")))?;
        write(&self.renewed_file(user), &format!("{password}\n"))
    }

    /// Takes the first password from a user.
    pub(crate) async fn revoke_first_password(&self, user: &str, configure: &mut Command) -> anyhow::Result<()> {
        alter(user, configure.args(["--delete-config", OLD])).await
    }

    /// Makes another authority, and its certificates for the brokers and their clients. Nothing
    /// uses them yet.
    pub(crate) fn make_next_authority(&self) -> anyhow::Result<Authority> {
        let next = Authority::create(&self.0.join("next"))?;
        next.issue(BROKER_NAME, &SERVERS, None)?;
        Ok(next)
    }

    /// Lets brokers that start from now on trust the next authority as well.
    pub(crate) fn let_brokers_trust_both(&self, next: &Authority) -> anyhow::Result<()> {
        self.replace(BROKERS_TRUST, &[self.tls(BROKERS_TRUST), next.file("ca.pem")])
    }

    /// Gives processes that start from now on a certificate of the next authority, and lets them
    /// trust that authority as well.
    pub(crate) fn renew_clients(&self, next: &Authority) -> anyhow::Result<()> {
        self.replace(CLIENTS_TRUSTED, &[self.tls(CLIENTS_TRUST)])?;
        self.replace(CLIENTS_REPLACED, &[self.tls(CLIENTS)])?;
        self.replace(CLIENTS_TRUST, &[self.tls(CLIENTS_TRUST), next.file("ca.pem")])?;
        self.replace(CLIENTS, &[next.file("client.key"), next.file("client.pem")])
    }

    /// Gives brokers that start from now on a certificate of the next authority.
    pub(crate) fn renew_brokers(&self, next: &Authority) -> anyhow::Result<()> {
        let [key, certificate] = ["key", "pem"].map(|kind| next.file(&format!("{BROKER_NAME}.{kind}")));
        self.replace(BROKERS, &[key, certificate])
    }

    /// Lets brokers that start from now on trust the next authority alone.
    pub(crate) fn let_brokers_trust_only(&self, next: &Authority) -> anyhow::Result<()> {
        self.replace(BROKERS_TRUST, &[next.file("ca.pem")])
    }

    /// The same for processes.
    pub(crate) fn let_clients_trust_only(&self, next: &Authority) -> anyhow::Result<()> {
        self.replace(CLIENTS_TRUST, &[next.file("ca.pem")])
    }

    /// Writes these files, joined, to one in the folder `tls`. Readers see the earlier file or the
    /// whole new one.
    fn replace(&self, name: &str, parts: &[PathBuf]) -> anyhow::Result<()> {
        let (file, new) = (self.tls(name), self.tls("new"));
        let mut joined = String::new();
        for part in parts {
            let text = fs::read_to_string(part).with_context(|| format!("cannot read {}", part.display()))?;
            joined.push_str(&text);
        }
        write(&new, &joined)?;
        fs::rename(&new, &file).with_context(|| format!("cannot write {}", file.display()))
    }
}

/// Writes a new file that only its owner can read.
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("cannot write {}", file.display()))
}

async fn alter(user: &str, configure: &mut Command) -> anyhow::Result<()> {
    configure.args(["--alter", "--entity-type", "users", "--entity-name", user]);
    let output = configure.output().await.context("the tool of Kafka cannot be run")?;
    let said = [output.stdout, output.stderr].concat();
    anyhow::ensure!(
        output.status.success(),
        "the password of {user} was not changed: {}",
        String::from_utf8_lossy(&said)
    );
    Ok(())
}
