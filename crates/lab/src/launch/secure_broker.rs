//! A broker that was started with `SECURE=1 deploy/kafka/up`: each process logs in to it over TLS,
//! with a certificate, as the user of its program. Passwords, certificates and their authority can
//! be replaced while it runs.

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

/// The variables that name the certificate of a process and its key.
const CERTIFICATE: &str = "TWQR__KAFKA__PROPERTIES__SSL.CERTIFICATE.LOCATION";
const KEY: &str = "TWQR__KAFKA__PROPERTIES__SSL.KEY.LOCATION";
/// The files, in the folder `tls`, with the trusted authorities, with the certificate and the key
/// of the broker, with those of its clients, and with those that the clients had first.
const AUTHORITIES: &str = "ca.pem";
const BROKER: &str = "broker.pem";
const CLIENTS: &str = "client.pem";
const CLIENTS_FIRST: &str = "first-client.pem";
/// The name of the second authority's certificate for the broker: a broker accepts a new one only
/// with the common name of the one before.
const BROKER_NAME: &str = "broker";
/// The number of the broker.
const BROKER_ID: &str = "1";

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
            ("TWQR__KAFKA__PROPERTIES__SSL.CA.LOCATION", self.tls(AUTHORITIES).into()),
            (CERTIFICATE, self.tls(CLIENTS).into()),
            (KEY, self.tls(CLIENTS).into()),
            ("TWQR__KAFKA__PASSWORD_FILE", password.into()),
        ]
    }

    /// The variables with which a process shows the certificate that all clients had before
    /// [`Self::renew_clients`].
    pub(crate) fn first_certificate(&self) -> Vec<(&'static str, OsString)> {
        [CERTIFICATE, KEY].map(|name| (name, OsString::from(self.tls(CLIENTS_FIRST)))).into()
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
        alter(user, configure.args(["--add-config", &format!("{NEW}=[password={password}]")])).await?;
        write(&self.renewed_file(user), &format!("{password}\n"))
    }

    /// Takes the first password from a user.
    pub(crate) async fn revoke_first_password(&self, user: &str, configure: &mut Command) -> anyhow::Result<()> {
        alter(user, configure.args(["--delete-config", OLD])).await
    }

    /// Makes another authority, and its certificates for the broker and its clients. Nothing uses
    /// them yet.
    pub(crate) fn make_second_authority(&self) -> anyhow::Result<Authority> {
        let second = Authority::create(&self.0.join("second"))?;
        second.issue(BROKER_NAME, &SERVERS, None)?;
        Ok(second)
    }

    /// Lets the broker, and processes that start from now on, trust the second authority as well.
    pub(crate) async fn trust_both(&self, second: &Authority, configure: &mut Command) -> anyhow::Result<()> {
        self.replace(AUTHORITIES, &[self.tls(AUTHORITIES), second.file("ca.pem")])?;
        reload("truststore", &self.tls(AUTHORITIES), configure).await
    }

    /// Gives all clients a certificate of the second authority.
    pub(crate) fn renew_clients(&self, second: &Authority) -> anyhow::Result<()> {
        self.replace(CLIENTS_FIRST, &[self.tls(CLIENTS)])?;
        self.replace(CLIENTS, &[second.file("client.key"), second.file("client.pem")])
    }

    /// Gives the broker a certificate of the second authority, for its new connections.
    pub(crate) async fn renew_broker(&self, second: &Authority, configure: &mut Command) -> anyhow::Result<()> {
        let [key, certificate] = ["key", "pem"].map(|kind| second.file(&format!("{BROKER_NAME}.{kind}")));
        self.replace(BROKER, &[key, certificate])?;
        reload("keystore", &self.tls(BROKER), configure).await
    }

    /// Lets the broker, and processes that start from now on, trust the second authority alone.
    pub(crate) async fn trust_only(&self, second: &Authority, configure: &mut Command) -> anyhow::Result<()> {
        self.replace(AUTHORITIES, &[second.file("ca.pem")])?;
        reload("truststore", &self.tls(AUTHORITIES), configure).await
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
    succeed(configure, &format!("the password of {user}")).await
}

/// Lets the broker read the file of a store again. Connections that are open stay.
async fn reload(store: &str, file: &Path, configure: &mut Command) -> anyhow::Result<()> {
    let property = format!("listener.name.sasl_ssl.ssl.{store}");
    let stored = format!("{property}.type=PEM,{property}.location={}", file.display());
    configure.args(["--alter", "--entity-type", "brokers", "--entity-name", BROKER_ID, "--add-config", &stored]);
    succeed(configure, &format!("the {store} of the broker")).await
}

async fn succeed(configure: &mut Command, what: &str) -> anyhow::Result<()> {
    let output = configure.output().await.context("the tool of Kafka cannot be run")?;
    let said = [output.stdout, output.stderr].concat();
    anyhow::ensure!(output.status.success(), "{what} was not changed: {}", String::from_utf8_lossy(&said));
    Ok(())
}
