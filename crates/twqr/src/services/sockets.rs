//! The sockets of the services of one process.

use twqr_config::Config;
use twqr_service::{BoundSocket, ListenError};

use super::Service;

/// The bound sockets of a process; those of services that it does not run are absent.
pub(super) struct Sockets {
    pub(super) admin: BoundSocket,
    pub(super) ingress: Option<twqr_ingress::Sockets>,
    pub(super) operators: Option<BoundSocket>,
}

impl Sockets {
    /// Binds every address on which these services will listen.
    pub(super) fn bind(services: &[Service], config: &Config) -> Result<Self, ListenError> {
        let ingress = || {
            let grpc = BoundSocket::bind("grpc", config.grpc)?;
            Ok(twqr_ingress::Sockets { grpc, http: Some(BoundSocket::bind("pos_http", config.pos_http)?) })
        };
        let operators = || BoundSocket::bind("operators", config.operators);
        let runs = |service| services.contains(&service);
        Ok(Self {
            admin: BoundSocket::bind("admin", config.admin)?,
            ingress: runs(Service::Ingress).then(ingress).transpose()?,
            operators: runs(Service::Tracker).then(operators).transpose()?,
        })
    }
}
