//! A listener for [`axum::serve`](fn@::axum::serve). Feature `axum`.
//!
//! ```no_run
//! use axum::{Router, extract::ConnectInfo, routing::get};
//! use tfo_core::{socket::Arrival, tokio::FastOpenListener};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
//! let listener = FastOpenListener::bind("0.0.0.0:8080".parse().unwrap())?;
//! let app = Router::new().route("/", get(async |ConnectInfo(arrival): ConnectInfo<Arrival>| {
//!     format!("the SYN carried data: {}\n", arrival.tcp.syn_data)
//! }));
//! axum::serve(listener, app.into_make_service_with_connect_info::<Arrival>()).await
//! # }
//! ```
//!
//! The [`Arrival`] is that of the connection. Of several requests on one connection, the SYN can have carried only the
//! first.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ::axum::extract::connect_info::Connected;
use ::axum::serve::{IncomingStream, Listener};

use crate::socket::{self, Arrival};
use crate::tokio::{Accepted, FastOpenListener};

/// How long to wait for resources to be freed, if there is none for a connection.
const PAUSE: Duration = Duration::from_secs(1);

impl Listener for FastOpenListener {
    type Io = Accepted;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Accepted, SocketAddr) {
        loop {
            match Self::accept(self).await {
                Ok(accepted) => {
                    let peer = accepted.arrival.peer;
                    return (accepted, peer);
                }
                Err(e) if socket::FastOpenListener::is_transient_accept_error(&e) => {}
                Err(e) => {
                    log::error!("accept failed: {e}; trying again in {PAUSE:?}");
                    ::tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local_addr())
    }
}

impl Connected<IncomingStream<'_, FastOpenListener>> for Arrival {
    fn connect_info(stream: IncomingStream<'_, FastOpenListener>) -> Self {
        stream.io().arrival
    }
}
