//! `twqr-lab simulator`: the wallet and FISC with its issuers, with a durable ledger of their own.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use anyhow::Context as _;
use twqr_config::{Config, PeerAddress, PolicyDocument, list_faults};
use twqr_service::{CancellationToken, Context, Health, SystemClock};
use twqr_simulator::{KindChoice, Script, Settings};
use twqr_tls::{Identity, PemFile, Protocol, ServerFiles};
use twqr_types::{Issuer, StatusCode};

/// The arguments of `twqr-lab simulator`.
#[derive(clap::Args)]
pub struct SimulatorOptions {
    /// The fault script (TOML), or - for standard input; without it there are no faults
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// The folder of the ledger
    #[arg(long, value_name = "DIR", default_value = "data-simulator")]
    data_dir: PathBuf,
    /// Also serve the same wallet and issuers over HTTP, for adapters
    #[arg(long, value_name = "IP:PORT")]
    http: Option<SocketAddr>,
    #[command(flatten)]
    kinds: Kinds,
    #[command(flatten)]
    certificates: SimulatorCertificates,
}

/// The options that give the simulator TLS.
#[derive(clap::Args, Clone, Debug, Default)]
#[allow(clippy::struct_field_names, reason = "each is named as its option is")]
pub struct SimulatorCertificates {
    /// The certificate of wallet and FISC (PEM); without it they serve plain text
    #[arg(long, value_name = "FILE", requires = "key_file")]
    pub(crate) certificate_file: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "certificate_file")]
    pub(crate) key_file: Option<PathBuf>,
    /// The authorities of the workers' certificates (PEM); with it a caller without one is refused
    #[arg(long, value_name = "FILE", requires = "certificate_file")]
    pub(crate) client_ca_file: Option<PathBuf>,
}

impl SimulatorCertificates {
    fn files(&self) -> Option<ServerFiles> {
        let pem = |option: &str, path: &Path| PemFile { key: format!("--{option}"), path: path.to_owned() };
        let certificate = pem("certificate-file", self.certificate_file.as_deref()?);
        let key = pem("key-file", self.key_file.as_deref()?);
        Some(ServerFiles {
            section: "simulator".to_owned(),
            protocol: Protocol::Http2,
            identity: Identity { certificate, key },
            client_ca: self.client_ca_file.as_deref().map(|file| pem("client-ca-file", file)),
            requires_certificate: true,
        })
    }
}

/// The option that chooses kinds of issuers.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Kinds {
    /// What issuers do with late and repeated calls: KIND for all issuers, 392=KIND or wallet=KIND
    /// for one; several are separated by commas. Kinds: plain, refuses-late, idempotent,
    /// idempotent-charges, idempotent-refunds, forgets-refusals, forgets-reversals. A command that
    /// starts the services declares these issuers in the policy accordingly
    #[arg(long = "issuer-kind", value_name = "KIND", value_delimiter = ',')]
    pub(crate) choices: Vec<KindChoice>,
}

impl FromStr for Kinds {
    type Err = String;

    /// Reads the value of `--issuer-kind`; an empty text chooses nothing.
    fn from_str(text: &str) -> Result<Self, String> {
        let choices = text.split(',').filter(|choice| !choice.is_empty());
        Ok(Self { choices: choices.map(str::parse).collect::<Result<_, _>>()? })
    }
}

impl Kinds {
    /// Declares the chosen issuers in the policy as what they are: idempotent or not.
    pub(crate) fn declare(&self, config: &mut Config) -> anyhow::Result<()> {
        if self.choices.is_empty() {
            return Ok(());
        }
        let policy = config.policy.policy();
        let mut policy = policy.map_err(|faults| anyhow::anyhow!("policy: {}", list_faults(&faults)))?;
        for rules in &mut policy.issuers {
            let is_named = |choice: &&KindChoice| choice.issuer.is_none_or(|issuer| issuer == rules.issuer);
            if let Some(KindChoice { kind, .. }) = self.choices.iter().rfind(is_named) {
                rules.idempotent_charges = kind.is_idempotent_for_charges();
                rules.idempotent_refunds = kind.is_idempotent_for_refunds();
                // What such an issuer answers to a charge that arrives again after its reversal.
                if kind.is_idempotent_for_charges() && rules.issuer != Issuer::Wallet {
                    rules.status_codes.insert(StatusCode::CANCELLED.to_string(), StatusCode::CANCELLED);
                }
            }
        }
        config.policy = PolicyDocument::from_policy(&policy);
        Ok(())
    }
}

/// Serves at the configured addresses of wallet and FISC until `stop` fires.
pub async fn run(options: &SimulatorOptions, config: &Config, stop: CancellationToken) -> anyhow::Result<()> {
    let mut settings = settings(config, &options.data_dir, options.script.as_deref(), &options.kinds)?;
    (settings.http_address, settings.tls) = (options.http, options.certificates.files());
    serve(settings, stop).await
}

pub(crate) fn settings(
    config: &Config,
    data_dir: &Path,
    script: Option<&Path>,
    kinds: &Kinds,
) -> anyhow::Result<Settings> {
    let script = match script {
        None => Script::default(),
        Some(file) => {
            let text = twqr_files::read_text(file).with_context(|| format!("fault script {}", file.display()))?;
            Script::parse(&text).with_context(|| file.display().to_string())?
        }
    };
    let script = script.with_kinds(&kinds.choices);
    let [wallet_address, fisc_address] = addresses(config)?;
    let data_dir = data_dir.to_owned();
    Ok(Settings { wallet_address, fisc_address, http_address: None, tls: None, data_dir, script })
}

/// The addresses of the simulator as wallet and as FISC.
pub(crate) fn addresses(config: &Config) -> anyhow::Result<[SocketAddr; 2]> {
    let address = |key: &str, peer: &PeerAddress| {
        let what = || format!("{key} is {peer}, must be an IP address and a port, since the simulator listens there");
        peer.socket_address().with_context(what)
    };
    Ok([address("wallet", &config.wallet)?, address("fisc", &config.fisc)?])
}

pub(crate) async fn serve(settings: Settings, stop: CancellationToken) -> anyhow::Result<()> {
    let context = Context { clock: Arc::new(SystemClock), shutdown: stop, health: Health::default() };
    Ok(twqr_simulator::run(settings, context).await?)
}
