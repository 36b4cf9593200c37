//! The sockets of the services of one process.

use twqr_config::Config;
use twqr_service::BoundSocket;
use twqr_tls::{ServerFiles, ServerTls};

use super::Service;

/// The bound sockets of a process; those of services that it does not run are absent.
pub(super) struct Sockets {
    pub(super) admin: BoundSocket,
    pub(super) ingress: Option<twqr_ingress::Sockets>,
    pub(super) operators: Option<BoundSocket>,
}

impl Sockets {
    /// Binds every address on which these services will listen, and reads the certificates.
    pub(super) fn bind(services: &[Service], config: &Config) -> anyhow::Result<Self> {
        let bind = |key, address, files: Option<ServerFiles>| {
            let tls = files.map(ServerTls::start).transpose()?;
            anyhow::Ok(BoundSocket::bind(key, address)?.with_tls(tls))
        };
        let ingress = || {
            let grpc = bind("grpc", config.grpc, config.tls.grpc_files())?;
            let http = bind("pos_http", config.pos_http, config.tls.pos_http_files())?;
            anyhow::Ok(twqr_ingress::Sockets { grpc, http: Some(http) })
        };
        let operators = || bind("operators", config.operators, config.tls.operators_files());
        let runs = |service| services.contains(&service);
        Ok(Self {
            admin: bind("admin", config.admin, config.tls.admin_files())?,
            ingress: runs(Service::Ingress).then(ingress).transpose()?,
            operators: runs(Service::Tracker).then(operators).transpose()?,
        })
    }
}
