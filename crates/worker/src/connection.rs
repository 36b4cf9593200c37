//! A connection to a backend that enforces the window: no movement that is handed to it arrives
//! much later than its `send_by` (protocol rule P6), even if the network, the backend or this
//! process stalls, or the process dies. So the window of every issuer must be longer than
//! [`HELD_BACK_MS_MAX`].
//!
//! - A dead process: the kernel discards undelivered data, since the socket is closed abortively
//!   (`socket`).
//! - A stopped process, or a stalled network: the kernel closes the connection after
//!   `TCP_USER_TIMEOUT` (`socket`).
//! - Bytes in this process, such as those behind a flow-control window of 0: the time is checked
//!   again when they are written to the socket (`guarded_io`, by the rules in `delivery`). That
//!   includes data that TLS has encrypted but not written.
//! - A backend that reads so slowly that the kernel never closes the connection: pings confirm the
//!   delivery, and each transfer must be confirmed in time (`delivery`). An answered ping also
//!   shows that the connection is alive.

mod addresses;
mod delivery;
mod frames;
mod guarded_io;
mod socket;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use twqr_order::HELD_BACK_MS_MAX;
use twqr_service::Clock;
use twqr_tls::ClientTls;

pub use addresses::Resolver;
pub(crate) use addresses::{Addresses, SystemResolver};
use delivery::{BEAT_MS, CONFIRM_MS, LATE_WRITE_MS, PAUSE_MS_MAX, PING_INTERVAL_MS, PING_TIMEOUT_MS};
pub(crate) use delivery::{Delivery, Handed};
use socket::Connector;

/// How long a connection attempt may take, in ms.
const CONNECT_MS: u64 = 1_000;

// What the rules add up to is what the window must exceed.
const _: () = assert!(PING_INTERVAL_MS + PING_TIMEOUT_MS + BEAT_MS <= CONFIRM_MS);
const _: () = assert!(socket::USER_TIMEOUT_MS as u64 <= CONFIRM_MS);
const _: () = assert!(LATE_WRITE_MS + CONFIRM_MS + PAUSE_MS_MAX <= HELD_BACK_MS_MAX.cast_unsigned());

/// Returns the endpoint with the limit on connecting.
pub(crate) fn with_limits(endpoint: Endpoint) -> Endpoint {
    endpoint.connect_timeout(Duration::from_millis(CONNECT_MS))
}

/// A connection for one stream of calls; it is closed abortively when this is dropped.
pub(crate) struct Connection {
    pub(crate) channel: Channel,
    pub(crate) delivery: Arc<Delivery>,
}

impl Connection {
    /// Opens a connection to the endpoint at one of its addresses, with TLS if there is any.
    pub(crate) async fn open(
        endpoint: &Endpoint,
        address: SocketAddr,
        tls: Option<ClientTls>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Status> {
        let delivery = Arc::new(Delivery::new(clock));
        tokio::spawn(delivery::watch(Arc::downgrade(&delivery)));
        let connector = Connector::new(address, tls, delivery.clone());
        let channel = endpoint.connect_with_connector(connector).await;
        let channel = channel.map_err(|error| Status::from_error(error.into()))?;
        Ok(Self { channel, delivery })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.delivery.abort("the stream of calls has ended");
    }
}
