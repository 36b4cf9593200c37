//! Tests with real handshakes over a pipe: who is let in, what is reported of a bad file, and what
//! is in force after a change.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::*;
use crate::reload::Reloading;

/// An authority, and the folder into which it writes certificates.
struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    /// Writes a certificate for a name, which ended in this year if there is one.
    fn issue(&self, file: &str, name: &str, ended: Option<i32>) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI(format!("spiffe://example/{name}").try_into().unwrap()));
        if let Some(year) = ended {
            params.not_after = date_time_ymd(year, 1, 1);
        }
        self.sign(file, &params);
    }

    /// Writes a certificate that ends after this time.
    fn issue_for(&self, file: &str, name: &str, lasting: Duration) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let ends = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + lasting;
        params.not_after = date_time_ymd(1970, 1, 1) + ends;
        self.sign(file, &params);
    }

    fn sign(&self, file: &str, params: &CertificateParams) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{file}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{file}.key")), key.serialize_pem()).unwrap();
    }

    fn path(&self, file: &str) -> std::path::PathBuf {
        self.folder.path().join(file)
    }

    fn pem(&self, key: &str, file: &str) -> PemFile {
        PemFile { key: format!("tls.{key}"), path: self.path(file) }
    }

    fn identity(&self, file: &str) -> Identity {
        let (certificate, key) = (format!("{file}.pem"), format!("{file}.key"));
        Identity { certificate: self.pem("certificate_file", &certificate), key: self.pem("key_file", &key) }
    }

    fn server(&self, client_ca: bool, requires_certificate: bool) -> ServerFiles {
        ServerFiles {
            section: "tls".into(),
            protocol: Protocol::Http2,
            identity: self.identity("server"),
            client_ca: client_ca.then(|| self.pem("client_ca_file", "ca.pem")),
            requires_certificate,
        }
    }

    fn client(&self, identity: Option<&str>, server_name: Option<&str>) -> ClientFiles {
        ClientFiles {
            section: "tls".into(),
            protocol: Protocol::Http2,
            ca: self.pem("ca_file", "ca.pem"),
            identity: identity.map(|file| self.identity(file)),
            server_name: server_name.map(str::to_owned),
        }
    }
}

/// What a server knows of its caller after a handshake and the first byte, or why there was none.
async fn shake_hands(server: &ServerTls, client: ClientFiles) -> Result<Option<VerifiedCertificate>, &'static str> {
    let client = ClientTls::start(client).unwrap();
    let (here, there) = duplex(65_536);
    let calling = tokio::spawn(async move {
        let mut stream = client.connect("server.example", here).await?;
        stream.write_all(b"x").await?;
        stream.flush().await?;
        stream.read_u8().await
    });
    let accepted = server.accept(there).await;
    let known = match accepted {
        Ok((mut stream, certificate)) => {
            assert_eq!(stream.read_u8().await.unwrap(), b'x');
            stream.write_all(b"y").await.unwrap();
            stream.flush().await.unwrap();
            Ok(certificate)
        }
        Err(error) => Err(handshake_fault(&error)),
    };
    assert_eq!(calling.await.unwrap().is_ok(), known.is_ok(), "both sides agree");
    known
}

#[tokio::test]
async fn callers_are_let_in_by_their_certificates() {
    let (authority, other) = (Authority::new(), Authority::new());
    authority.issue("server", "server.example", None);
    authority.issue("pos", "pos.example", None);
    authority.issue("old", "pos.example", Some(2020));
    other.issue("stranger", "pos.example", None);
    let stranger = ClientFiles { identity: Some(other.identity("stranger")), ..authority.client(None, None) };
    let pos = PeerCertificate::new(vec!["pos.example".into()], vec!["spiffe://example/pos.example".into()]);
    for (name, client_ca, required, client, expected) in [
        ("no authority is configured", false, false, authority.client(Some("pos"), None), Ok(None)),
        ("required and shown", true, true, authority.client(Some("pos"), None), Ok(Some(pos.clone()))),
        ("required and not shown", true, true, authority.client(None, None), Err("no_certificate")),
        ("optional and not shown", true, false, authority.client(None, None), Ok(None)),
        ("optional and shown", true, false, authority.client(Some("pos"), None), Ok(Some(pos))),
        ("expired", true, true, authority.client(Some("old"), None), Err("expired")),
        ("optional, but expired", true, false, authority.client(Some("old"), None), Err("expired")),
        ("of another authority", true, true, stranger, Err("bad_certificate")),
        (
            "the server has another name",
            false,
            false,
            authority.client(None, Some("x.example")),
            Err("refused_by_caller"),
        ),
    ] {
        let server = ServerTls::start(authority.server(client_ca, required)).unwrap();
        let known = shake_hands(&server, client).await;
        assert_eq!(known.map(|known| known.map(|certificate| certificate.names().clone())), expected, "{name}");
    }
}

#[tokio::test]
async fn a_verified_certificate_is_refused_once_it_ends_or_its_authority_is_not_trusted() {
    let (authority, other) = (Authority::new(), Authority::new());
    authority.issue("server", "server.example", None);
    authority.issue("long", "pos.example", None);
    authority.issue_for("short", "pos.example", Duration::from_secs(2));
    let server = ServerTls(Reloading::load(authority.server(true, true)).unwrap());
    let verified = async |name| shake_hands(&server, authority.client(Some(name), None)).await.unwrap().unwrap();
    let (long, short) = (verified("long").await, verified("short").await);
    let trust = |authorities: &[&Authority]| {
        let pem = |authority: &&Authority| std::fs::read_to_string(authority.path("ca.pem")).unwrap();
        let pem: String = authorities.iter().map(pem).collect();
        std::fs::write(authority.path("ca.pem"), pem).unwrap();
        (0..2).for_each(|_| server.0.look());
    };
    trust(&[&authority, &other]);
    let still = tokio::time::timeout(Duration::from_millis(100), long.clone().refused()).await;
    assert!(still.is_err(), "its authority is still trusted: {still:?}");
    let why = tokio::time::timeout(Duration::from_secs(10), short.refused()).await.unwrap();
    assert!(why.to_string().contains("expired"), "{why}");
    trust(&[&other]);
    let why = tokio::time::timeout(Duration::from_secs(10), long.refused()).await.unwrap();
    assert!(why.to_string().starts_with("invalid peer certificate"), "{why}");
}

#[tokio::test]
async fn plain_text_and_older_versions_are_refused() {
    let authority = Authority::new();
    authority.issue("server", "server.example", None);
    let server = ServerTls::start(authority.server(false, false)).unwrap();
    // A client hello of TLS 1.1, which offers no later version.
    let tls_1_1 = [&[22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2][..], &[7; 32], &[0, 0, 2, 0, 53, 1, 0]].concat();
    for (sent, expected) in [(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), "plaintext"), (tls_1_1, "broken")] {
        let (mut here, there) = duplex(65_536);
        here.write_all(&sent).await.unwrap();
        assert_eq!(server.accept(there).await.map(drop).map_err(|error| handshake_fault(&error)), Err(expected));
    }
}

#[test]
fn each_bad_file_is_named_with_its_key_and_nothing_of_its_contents() {
    let authority = Authority::new();
    for (file, ended) in [("server", None), ("other", None), ("old", Some(2020))] {
        authority.issue(file, "server.example", ended);
    }
    let text = |file: &str| std::fs::read_to_string(authority.path(file)).unwrap();
    let (good, key) = (text("server.pem"), text("server.key"));
    let cut = |pem: &str| pem.replace("-----END", "SECRET");
    let mangled = good.replacen("MII", "SEC", 1);
    for (file, contents, expected) in [
        ("server.pem", Some(String::new()), "certificate_file: PATH/server.pem contains no certificate in PEM form"),
        ("server.pem", Some(cut(&good)), "certificate_file: PATH/server.pem is not in PEM form"),
        ("server.pem", Some(mangled), "certificate_file: PATH/server.pem contains a certificate that is damaged"),
        (
            "server.pem",
            Some(text("old.pem")),
            "key_file: PATH/server.key is not the key of the certificate in PATH/server.pem",
        ),
        ("server.pem", None, "certificate_file: PATH/server.pem cannot be read: No such file"),
        (
            "server.key",
            Some(text("other.key")),
            "key_file: PATH/server.key is not the key of the certificate in PATH/server.pem",
        ),
        ("server.key", Some(good.clone()), "key_file: PATH/server.key contains no private key in PEM form"),
        ("server.key", Some(cut(&key)), "key_file: PATH/server.key contains no private key in PEM form"),
        ("server.key", None, "key_file: PATH/server.key cannot be read"),
        ("ca.pem", Some("SECRET".to_owned()), "client_ca_file: PATH/ca.pem contains no certificate in PEM form"),
    ] {
        let before = std::fs::read(authority.path(file)).unwrap();
        match contents {
            Some(contents) => std::fs::write(authority.path(file), contents).unwrap(),
            None => std::fs::remove_file(authority.path(file)).unwrap(),
        }
        let fault = authority.server(true, true).check().unwrap_err().to_string();
        std::fs::write(authority.path(file), before).unwrap();
        let fault = fault.replace(&*authority.folder.path().to_string_lossy(), "PATH");
        assert!(fault.starts_with(&format!("tls.{expected}")) && !fault.contains("SECRET"), "{fault}");
    }
    authority.server(true, true).check().unwrap();
    let old = ServerFiles { identity: authority.identity("old"), ..authority.server(false, false) };
    let fault = old.check().unwrap_err().to_string();
    assert!(fault.ends_with("old.pem contains a certificate that ended at 2020-01-01T00:00:00Z"), "{fault}");
    Reloading::load(old).unwrap();
}

/// The name of the certificate that a caller sees.
async fn shown(server: &Arc<Reloading<ServerFiles>>, authority: &Authority, name: &str) -> io::Result<()> {
    let client = ClientTls::start(authority.client(None, Some(name))).unwrap();
    let (here, there) = duplex(65_536);
    let acceptor = tokio_rustls::TlsAcceptor::from(server.current().config.clone());
    let (seen, _) = tokio::join!(client.connect("", here), acceptor.accept(there));
    seen.map(drop)
}

/// Kubernetes mounts `..data`, a link to a folder, and replaces the link.
fn link(authority: &Authority, to: &str) {
    let (new, link) = (authority.path("new"), authority.path("mounted"));
    std::os::unix::fs::symlink(Path::new(to), &new).unwrap();
    std::fs::rename(new, link).unwrap();
}

#[tokio::test]
async fn new_files_come_into_force_and_bad_ones_change_nothing() {
    let authority = Authority::new();
    for (folder, name, ended) in
        [("1", "one.example", None), ("2", "two.example", None), ("3", "old.example", Some(2020))]
    {
        std::fs::create_dir(authority.path(folder)).unwrap();
        authority.issue(&format!("{folder}/tls"), name, ended);
    }
    link(&authority, "1");
    let files = ServerFiles { identity: authority.identity("mounted/tls"), ..authority.server(false, false) };
    let server = Reloading::load(files).unwrap();
    shown(&server, &authority, "one.example").await.unwrap();
    link(&authority, "2");
    server.look();
    shown(&server, &authority, "one.example").await.unwrap();
    server.look();
    shown(&server, &authority, "two.example").await.unwrap();
    shown(&server, &authority, "one.example").await.unwrap_err();
    // The key is still that of the old certificate.
    let key = std::fs::read(authority.path("2/tls.key")).unwrap();
    std::fs::copy(authority.path("1/tls.key"), authority.path("2/tls.key")).unwrap();
    for look in 0..3 {
        server.look();
        shown(&server, &authority, "two.example").await.unwrap();
        assert_eq!(server.is_refused(), look > 0);
    }
    std::fs::write(authority.path("2/tls.key"), key).unwrap();
    server.look();
    assert!(!server.is_refused());
    for gone_or_old in ["3", "absent"] {
        link(&authority, gone_or_old);
        server.look();
        server.look();
        assert!(server.is_refused());
        shown(&server, &authority, "two.example").await.unwrap();
    }
    link(&authority, "1");
    server.look();
    server.look();
    shown(&server, &authority, "one.example").await.unwrap();
}
