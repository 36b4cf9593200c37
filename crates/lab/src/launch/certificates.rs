//! Certificates for a system on loopback: an authority, one certificate of all servers and one of
//! all clients, made for each system.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::Context as _;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use twqr_config::{ClientCertificates, Config, ListenerTls, PeerTls};

/// The names of the servers.
pub(super) const SERVERS: [&str; 3] = ["127.0.0.1", "::1", "localhost"];
/// The name of the clients.
const CLIENT: &str = "lab.example";

/// Whether the system of this process has TLS.
static ISSUED: AtomicBool = AtomicBool::new(false);

/// Whether the system of this process has TLS.
pub(super) fn are_issued() -> bool {
    ISSUED.load(Ordering::Relaxed)
}

/// An authority that writes certificates into a folder.
pub struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes an authority and its folder `tls` in the folder of a run.
    pub fn create(run_dir: &Path) -> anyhow::Result<Self> {
        let dir = std::path::absolute(run_dir)?.join("tls");
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        let authority = Self { dir, issuer: Issuer::new(params, key) };
        authority.write("ca.pem", &certificate)?;
        authority.issue("server", &SERVERS, None)?;
        authority.issue("client", &[CLIENT], None)?;
        Ok(authority)
    }

    /// Configures the certificates for all connections but the POS HTTP form: on gRPC and the
    /// operators' API with certificates of callers, and to wallet and FISC.
    pub(super) fn configure(&self, config: &mut Config) {
        ISSUED.store(true, Ordering::Relaxed);
        let listener = ListenerTls {
            certificate_file: self.file("server.pem"),
            key_file: self.file("server.key"),
            client_ca_file: self.file("ca.pem"),
            client_certificates: Some(ClientCertificates::Required),
        };
        let peer = PeerTls {
            ca_file: self.file("ca.pem"),
            certificate_file: self.file("client.pem"),
            key_file: self.file("client.key"),
            server_name: String::new(),
        };
        (config.tls.grpc, config.tls.operators) = (listener.clone(), listener);
        (config.tls.wallet, config.tls.fisc, config.tls.client) = (peer.clone(), peer.clone(), peer);
    }

    /// Writes `NAME.pem` and `NAME.key`, or replaces them, by a certificate for these names, with
    /// NAME as its common name. With `ended` it is not valid any more from the beginning of that
    /// year on.
    pub fn issue(&self, name: &str, names: &[&str], ended: Option<i32>) -> anyhow::Result<()> {
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(year) = ended {
            params.not_after = date_time_ymd(year, 1, 1);
        }
        let key = KeyPair::generate()?;
        self.write(&format!("{name}.pem"), &params.signed_by(&key, &self.issuer)?.pem())?;
        self.write(&format!("{name}.key"), &key.serialize_pem())
    }

    /// Replaces the certificate of all servers by a new one.
    pub fn renew_servers(&self) -> anyhow::Result<()> {
        self.issue("server", &SERVERS, None)
    }

    /// A file in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn write(&self, file: &str, pem: &str) -> anyhow::Result<()> {
        let (path, new) = (self.file(file), self.file("new"));
        let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new);
        let written = opened.and_then(|mut file| file.write_all(pem.as_bytes()));
        written.and_then(|()| fs::rename(&new, &path)).with_context(|| format!("cannot write {}", path.display()))
    }
}
