//! The section `[tls]`: the files of certificates, of listeners and of connections.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use twqr_tls::{ClientFiles, FileFault, Identity, PemFile, Protocol, ServerFiles};

use crate::TelemetryProtocol;

/// The section `[tls]`. A part whose certificates are not named uses no TLS.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// The listener `grpc`.
    pub grpc: ListenerTls,
    /// The listener `pos_http`.
    pub pos_http: ListenerTls,
    /// The listener `operators`.
    pub operators: ListenerTls,
    /// The listener `admin`.
    pub admin: ListenerTls,
    /// The connections to the wallet.
    pub wallet: PeerTls,
    /// The connections to FISC.
    pub fisc: PeerTls,
    /// The connections to the collector of traces.
    pub telemetry: PeerTls,
    /// The connections of commands to `https://` addresses of this system.
    pub client: PeerTls,
}

/// TLS of a listener. With an empty `certificate_file` it is plain text.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct ListenerTls {
    /// The certificate that callers see, and those between it and its root.
    pub certificate_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
    /// The authorities of callers' certificates; empty: callers show none.
    pub client_ca_file: PathBuf,
    /// Whether each caller must show one; absent: it must, if `client_ca_file` is set.
    pub client_certificates: Option<ClientCertificates>,
}

/// Whether a caller must show a certificate.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// A caller may show one.
    Optional,
    /// A caller without one is refused.
    Required,
}

/// TLS of connections to a peer. With an empty `ca_file` they are plain text.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct PeerTls {
    /// The authorities of the peer's certificate.
    pub ca_file: PathBuf,
    /// The certificate that the peer sees; empty: none.
    pub certificate_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
    /// The name in the peer's certificate; empty: the host of its address.
    pub server_name: String,
}

fn is_set(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}

fn pem(section: &str, key: &str, path: &Path) -> PemFile {
    PemFile { key: format!("{section}.{key}"), path: path.to_owned() }
}

fn identity(section: &str, certificate: &Path, key: &Path) -> Identity {
    Identity { certificate: pem(section, "certificate_file", certificate), key: pem(section, "key_file", key) }
}

impl ListenerTls {
    fn files(&self, section: &str, protocol: Protocol) -> Option<ServerFiles> {
        is_set(&self.certificate_file).then(|| ServerFiles {
            section: section.to_owned(),
            protocol,
            identity: identity(section, &self.certificate_file, &self.key_file),
            client_ca: is_set(&self.client_ca_file).then(|| pem(section, "client_ca_file", &self.client_ca_file)),
            requires_certificate: self.client_certificates != Some(ClientCertificates::Optional),
        })
    }

    /// Whether a caller without a certificate of a named authority is refused.
    pub(crate) fn demands_certificates(&self) -> bool {
        let is_optional = self.client_certificates == Some(ClientCertificates::Optional);
        is_set(&self.certificate_file) && is_set(&self.client_ca_file) && !is_optional
    }

    fn faults(&self, section: &str) -> Vec<String> {
        let (certificate, key) = (is_set(&self.certificate_file), is_set(&self.key_file));
        let mut faults = pair_faults(section, certificate, key);
        if is_set(&self.client_ca_file) && !certificate {
            faults.push(format!("{section}.client_ca_file needs {section}.certificate_file"));
        }
        if self.client_certificates == Some(ClientCertificates::Required) && !is_set(&self.client_ca_file) {
            faults.push(format!("{section}.client_certificates is \"required\", which needs {section}.client_ca_file"));
        }
        faults
    }
}

impl PeerTls {
    fn files(&self, section: &str, protocol: Protocol) -> Option<ClientFiles> {
        is_set(&self.ca_file).then(|| ClientFiles {
            section: section.to_owned(),
            protocol,
            ca: pem(section, "ca_file", &self.ca_file),
            identity: is_set(&self.certificate_file).then(|| identity(section, &self.certificate_file, &self.key_file)),
            server_name: Some(self.server_name.clone()).filter(|name| !name.is_empty()),
        })
    }

    fn faults(&self, section: &str) -> Vec<String> {
        let certificate = is_set(&self.certificate_file);
        let mut faults = pair_faults(section, certificate, is_set(&self.key_file));
        if !is_set(&self.ca_file) && (certificate || !self.server_name.is_empty()) {
            faults.push(format!("{section}.ca_file is empty, must name the authority of the peer's certificate"));
        }
        faults
    }
}

fn pair_faults(section: &str, certificate: bool, key: bool) -> Vec<String> {
    let fault = |set, missing| format!("{section}.{set} needs {section}.{missing}");
    match (certificate, key) {
        (true, false) => vec![fault("certificate_file", "key_file")],
        (false, true) => vec![fault("key_file", "certificate_file")],
        (true, true) | (false, false) => Vec::new(),
    }
}

impl TlsConfig {
    /// The files of the listener `grpc`; `None`: plain text.
    pub fn grpc_files(&self) -> Option<ServerFiles> {
        self.grpc.files("tls.grpc", Protocol::Http2)
    }

    /// The files of the listener `pos_http`; `None`: plain text.
    pub fn pos_http_files(&self) -> Option<ServerFiles> {
        self.pos_http.files("tls.pos_http", Protocol::Http1)
    }

    /// The files of the listener `operators`; `None`: plain text.
    pub fn operators_files(&self) -> Option<ServerFiles> {
        self.operators.files("tls.operators", Protocol::Http2)
    }

    /// The files of the listener `admin`; `None`: plain text.
    pub fn admin_files(&self) -> Option<ServerFiles> {
        self.admin.files("tls.admin", Protocol::Http1)
    }

    /// The files of connections to the wallet; `None`: plain text.
    pub fn wallet_files(&self) -> Option<ClientFiles> {
        self.wallet.files("tls.wallet", Protocol::Http2)
    }

    /// The files of connections to FISC; `None`: plain text.
    pub fn fisc_files(&self) -> Option<ClientFiles> {
        self.fisc.files("tls.fisc", Protocol::Http2)
    }

    /// The files of connections to the collector of traces, which speaks this protocol; `None`:
    /// plain text.
    pub fn telemetry_files(&self, protocol: TelemetryProtocol) -> Option<ClientFiles> {
        let protocol = match protocol {
            TelemetryProtocol::Grpc => Protocol::Http2,
            TelemetryProtocol::Http => Protocol::Http1,
        };
        self.telemetry.files("tls.telemetry", protocol)
    }

    /// The files of the commands' connections; `None`: they cannot use `https://`.
    pub fn client_files(&self) -> Option<ClientFiles> {
        self.client.files("tls.client", Protocol::Http2)
    }

    /// Lists what cannot work, each fault with its key.
    pub(crate) fn faults(&self) -> Vec<String> {
        let listeners = [
            ("tls.grpc", &self.grpc),
            ("tls.pos_http", &self.pos_http),
            ("tls.operators", &self.operators),
            ("tls.admin", &self.admin),
        ];
        let peers = [
            ("tls.wallet", &self.wallet),
            ("tls.fisc", &self.fisc),
            ("tls.telemetry", &self.telemetry),
            ("tls.client", &self.client),
        ];
        let listeners = listeners.into_iter().flat_map(|(section, listener)| listener.faults(section));
        listeners.chain(peers.into_iter().flat_map(|(section, peer)| peer.faults(section))).collect()
    }

    /// Checks that every file can be used, and that the certificates are valid now.
    pub fn check_files(&self) -> Result<(), FileFault> {
        let listeners = [self.grpc_files(), self.pos_http_files(), self.operators_files(), self.admin_files()];
        listeners.iter().flatten().try_for_each(ServerFiles::check)?;
        let telemetry = self.telemetry_files(TelemetryProtocol::Grpc);
        let peers = [self.wallet_files(), self.fisc_files(), telemetry, self.client_files()];
        peers.iter().flatten().try_for_each(ClientFiles::check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_named_with_its_key() {
        let faults = |text: &str| toml::from_str::<TlsConfig>(text).unwrap().faults();
        assert_eq!(faults(""), [""; 0]);
        for (text, expected) in [
            ("grpc.certificate_file = \"a\"", "tls.grpc.certificate_file needs tls.grpc.key_file"),
            ("pos_http.key_file = \"a\"", "tls.pos_http.key_file needs tls.pos_http.certificate_file"),
            ("operators.client_ca_file = \"a\"", "tls.operators.client_ca_file needs tls.operators.certificate_file"),
            (
                "grpc = { certificate_file = \"a\", key_file = \"b\", client_certificates = \"required\" }",
                "tls.grpc.client_certificates is \"required\", which needs tls.grpc.client_ca_file",
            ),
            ("admin.certificate_file = \"a\"", "tls.admin.certificate_file needs tls.admin.key_file"),
            ("telemetry.server_name = \"a\"", "tls.telemetry.ca_file is empty, must name the authority"),
            ("wallet.server_name = \"a\"", "tls.wallet.ca_file is empty, must name the authority"),
            (
                "fisc = { ca_file = \"a\", certificate_file = \"b\" }",
                "tls.fisc.certificate_file needs tls.fisc.key_file",
            ),
            ("client = { certificate_file = \"a\", key_file = \"b\" }", "tls.client.ca_file is empty"),
        ] {
            let faults = faults(text);
            assert!(matches!(&faults[..], [fault] if fault.starts_with(expected)), "{text}: {faults:?}");
        }
        assert!(toml::from_str::<TlsConfig>("grpc.client_certificates = \"never\"").is_err());
    }

    #[test]
    fn a_missing_file_is_named_with_its_key() {
        let tls: TlsConfig = toml::from_str("fisc.ca_file = \"/absent/ca.pem\"").unwrap();
        let fault = tls.check_files().unwrap_err().to_string();
        assert!(fault.starts_with("tls.fisc.ca_file: /absent/ca.pem cannot be read"), "{fault}");
    }
}
