//! The PEM files that the configuration names. An error names the key of the configuration and the
//! path, never what the file contains.

use std::path::PathBuf;

use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use crate::details::Details;

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A file in PEM form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PemFile {
    /// The key of the configuration that names the file, such as `tls.grpc.key_file`.
    pub key: String,
    /// The path of the file.
    pub path: PathBuf,
}

/// The fault of a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{key}: {} {what}", path.display())]
pub struct FileFault {
    key: String,
    path: PathBuf,
    what: String,
}

/// A certificate with the key that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, followed by those of the authorities between it and the root.
    pub certificate: PemFile,
    /// The private key, without a password.
    pub key: PemFile,
}

/// A certificate that was read, and where it was.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) file: PemFile,
    pub(crate) details: Details,
}

impl Read {
    /// Fails if the certificate is not valid now.
    pub(crate) fn check_time(&self) -> Result<(), FileFault> {
        self.details.fault_now().map_or(Ok(()), |what| Err(self.file.fault(format!("contains a certificate {what}"))))
    }
}

impl PemFile {
    pub(crate) fn fault(&self, what: impl Into<String>) -> FileFault {
        FileFault { key: self.key.clone(), path: self.path.clone(), what: what.into() }
    }

    /// The bytes of the file.
    pub(crate) fn read(&self) -> Result<Vec<u8>, FileFault> {
        let read = || {
            let len = std::fs::metadata(&self.path)?.len();
            if len > FILE_BYTES_MAX {
                return Err(std::io::Error::other(format!("it has {len} bytes, at most {FILE_BYTES_MAX} are read")));
            }
            std::fs::read(&self.path)
        };
        read().map_err(|error| self.fault(format!("cannot be read: {error}")))
    }

    fn certificates(&self, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, FileFault> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let certificates = certificates.map_err(|_| self.fault("is not in PEM form"))?;
        if certificates.is_empty() {
            return Err(self.fault("contains no certificate in PEM form"));
        }
        Ok(certificates)
    }

    fn details(&self, certificate: &CertificateDer<'_>) -> Result<Read, FileFault> {
        let details =
            Details::parse(certificate).ok_or_else(|| self.fault("contains a certificate that is damaged"))?;
        Ok(Read { file: self.clone(), details })
    }

    /// The authorities in this file, and the certificate among them that ends first.
    pub(crate) fn authorities(&self, pem: &[u8]) -> Result<(RootCertStore, Read), FileFault> {
        let mut roots = RootCertStore::empty();
        let mut first: Option<Read> = None;
        for certificate in self.certificates(pem)? {
            let read = self.details(&certificate)?;
            if first.as_ref().is_none_or(|first| read.details.ends < first.details.ends) {
                first = Some(read);
            }
            roots.add(certificate).map_err(|_| self.fault("contains a certificate that is not an authority's"))?;
        }
        first.map(|first| (roots, first)).ok_or_else(|| self.fault("contains no certificate in PEM form"))
    }
}

impl Identity {
    /// The certificate and the key in these bytes of the two files.
    pub(crate) fn certified(
        &self,
        certificate_pem: &[u8],
        key_pem: &[u8],
        provider: &CryptoProvider,
    ) -> Result<(CertifiedKey, Read), FileFault> {
        let chain = self.certificate.certificates(certificate_pem)?;
        let leaf = chain.first().ok_or_else(|| self.certificate.fault("contains no certificate in PEM form"))?;
        let read = self.certificate.details(leaf)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem)
            .map_err(|_| self.key.fault("contains no private key in PEM form without a password"))?;
        let certified = CertifiedKey::from_der(chain, key, provider).map_err(|error| {
            if matches!(error, rustls::Error::InconsistentKeys(_)) {
                let certificate = self.certificate.path.display();
                return self.key.fault(format!("is not the key of the certificate in {certificate}"));
            }
            self.key.fault("contains a private key that cannot be used; allowed are RSA, ECDSA and Ed25519")
        })?;
        Ok((certified, read))
    }
}
