//! A broker that was started with `SECURE=1 deploy/kafka/up`: each process logs in to it over TLS
//! as the user of its program.

use std::{
    ffi::OsString,
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use tokio::process::Command;

/// Variables of a process.
type Variables = [(&'static str, OsString); 5];

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
            ("TWQR__KAFKA__PROPERTIES__SSL.CA.LOCATION", self.0.join("tls/ca.pem").into()),
            ("TWQR__KAFKA__PASSWORD_FILE", password.into()),
        ]
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
        let file = self.renewed_file(user);
        let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
        let written = opened.and_then(|mut file| writeln!(file, "{password}"));
        written.with_context(|| format!("cannot write {}", file.display()))
    }

    /// Takes the first password from a user.
    pub(crate) async fn revoke_first_password(&self, user: &str, configure: &mut Command) -> anyhow::Result<()> {
        alter(user, configure.args(["--delete-config", OLD])).await
    }
}

async fn alter(user: &str, configure: &mut Command) -> anyhow::Result<()> {
    let output = configure.args(["--alter", "--entity-type", "users", "--entity-name", user]).output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "the password of {user} was not changed: {said}");
    Ok(())
}
