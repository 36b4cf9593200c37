//! The fields of a certificate that are used: the names of its owner, and its validity.

use std::time::SystemTime;

use x509_cert::{
    Certificate,
    der::Decode as _,
    ext::pkix::{SubjectAltName, name::GeneralName},
};

use crate::PeerCertificate;

/// The used fields of a certificate.
#[derive(Clone, Debug)]
pub(crate) struct Details {
    pub(crate) names: PeerCertificate,
    begins: SystemTime,
    pub(crate) ends: SystemTime,
    /// The two times as they are written in errors.
    written: (String, String),
}

impl Details {
    /// Parses a certificate in DER form; `None` if it is malformed.
    pub(crate) fn parse(der: &[u8]) -> Option<Self> {
        let certificate = Certificate::from_der(der).ok()?;
        let certificate = certificate.tbs_certificate();
        let names = certificate.get_extension::<SubjectAltName>().ok()?.map(|(_, names)| names.0);
        let (mut dns, mut uris) = (Vec::new(), Vec::new());
        for name in names.unwrap_or_default() {
            match name {
                GeneralName::DnsName(name) => dns.push(name.as_str().to_owned()),
                GeneralName::UniformResourceIdentifier(uri) => uris.push(uri.as_str().to_owned()),
                GeneralName::OtherName(_)
                | GeneralName::Rfc822Name(_)
                | GeneralName::DirectoryName(_)
                | GeneralName::EdiPartyName(_)
                | GeneralName::IpAddress(_)
                | GeneralName::RegisteredId(_) => {}
            }
        }
        let (begins, ends) = (certificate.validity().not_before, certificate.validity().not_after);
        Some(Self {
            names: PeerCertificate::new(dns, uris),
            written: (begins.to_date_time().to_string(), ends.to_date_time().to_string()),
            begins: begins.to_system_time(),
            ends: ends.to_system_time(),
        })
    }

    /// The reason why the certificate is not valid now, if it is not.
    pub(crate) fn fault_now(&self) -> Option<String> {
        let now = SystemTime::now();
        let (begins, ends) = &self.written;
        if now > self.ends {
            Some(format!("that ended at {ends}"))
        } else if now < self.begins {
            Some(format!("that is not valid before {begins}"))
        } else {
            None
        }
    }

    /// How many days are left until its end; below 0 afterwards.
    pub(crate) fn days_left(&self) -> f64 {
        const DAY_S: f64 = 86_400.0;
        let now = SystemTime::now();
        self.ends.duration_since(now).map_or_else(|past| -past.duration().as_secs_f64(), |left| left.as_secs_f64())
            / DAY_S
    }
}
