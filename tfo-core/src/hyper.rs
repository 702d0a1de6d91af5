//! A connector for hyper's clients. Feature `hyper`.
//!
//! ```no_run
//! use http_body_util::Empty;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tfo_core::{hyper::FastOpenConnector, tokio::Handshake};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let connector = FastOpenConnector::new().allow_in_syn(true);
//! let client: Client<_, Empty<&[u8]>> = Client::builder(TokioExecutor::new()).build(connector);
//! let response = client.get("http://192.0.2.1/".parse()?).await?;
//! let handshake = response.extensions().get::<Handshake>();
//! if let Some(verdict) = handshake.and_then(Handshake::verdict) {
//!     println!("{}: {verdict}", verdict.outcome);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What rides the SYN
//!
//! A network that duplicates a SYN may make the server execute the bytes in it twice ([RFC 7413, section
//! 6.1](https://www.rfc-editor.org/rfc/rfc7413#section-6.1)). With `https` these bytes are the `ClientHello`, which
//! does no harm. With `http` they are a request: unless [`allow_in_syn`](FastOpenConnector::allow_in_syn) says that all
//! requests of this client may be executed twice, the connections of `http` are regular ones.
//!
//! # Paths that break fast open
//!
//! A path that drops SYNs with data costs one connection a second. One that resets them, or swallows the rest of the
//! connection, fails a request: it is not sent again, and the server may have executed it. The connector
//! [remembers](FastOpenConnector::memory) that, and the next connections to this server are regular; after a pause one of
//! them tries again. [`Handshake::attempt`] is `Paused` then, and the cause of the verdict is `paused-by-program`.
//!
//! A connection that is dropped before its handshake has ended teaches nothing, such as one whose request has timed out.
//!
//! # With TLS
//!
//! Wrap the connector, for example with `hyper_rustls::HttpsConnectorBuilder::wrap_connector`. The extension is
//! passed through.
//!
//! # With tonic
//!
//! `tonic::transport::Endpoint::connect_with_connector(connector)`. tonic does not pass extensions of the connection to
//! its responses: [`on_connect`](FastOpenConnector::on_connect) gets the handle of each connection. HTTP/2 writes its
//! preface before the first request is there. The connector waits a few turns of the scheduler for the request;
//! [`Handshake::attempt`] shows how many bytes rode the SYN.
//!
//! # With reqwest
//!
//! reqwest does not accept a connector: `ClientBuilder::connector_layer` only wraps the one that it builds itself.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, io};

use ::http::Uri;
use ::http::uri::Scheme;
use ::hyper_util::client::legacy::connect::{Connected, Connection};
use ::hyper_util::rt::TokioIo;
use ::tokio::net::lookup_host;
use ::tokio::time::sleep;
use ::tower_service::Service;

use crate::dialer::PathMemory;
use crate::socket;
use crate::tokio::{Connector, FastOpenStream, Handshake};

/// A connector for hyper's clients whose first bytes ride the SYN: see [the module](self).
///
/// Clones share what they remember of paths.
///
/// Each response of `hyper_util::client::legacy::Client` has a [`Handshake`] of its connection among its extensions.
///
/// The addresses of a name are tried one after the other. If the name has addresses of both families, those of the second one
/// are tried as well after 300 ms, as hyper's own connector does.
#[derive(Clone, Default)]
pub struct FastOpenConnector {
    connector: Connector,
    allow_in_syn: bool,
    nodelay: bool,
    on_connect: Option<Arc<dyn Fn(Handshake) + Send + Sync>>,
}

impl FastOpenConnector {
    /// Creates a connector: the first bytes of `https` ride the SYN, and connections of `http` are regular.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// States that the requests of this client may be executed twice, so that those of `http` may ride the SYN as
    /// well. Default: off.
    #[must_use]
    pub fn allow_in_syn(mut self, on: bool) -> Self {
        self.allow_in_syn = on;
        self
    }

    /// Sets options of the sockets. The timeout is ignored.
    #[must_use]
    pub fn options(mut self, options: socket::Connector) -> Self {
        self.connector = self.connector.with_options(options);
        self
    }

    /// Sets the memory of paths that break fast open, to share it with other connectors and
    /// [dialers](crate::dialer::Dialer), or to load it from a file. Default: one of this connector's own, which its
    /// clones share. See [`tokio::Connector::memory`](Connector::memory).
    ///
    /// ```no_run
    /// use tfo_core::{dialer::PathMemory, hyper::FastOpenConnector};
    ///
    /// let memory = PathMemory::new();
    /// let connector = FastOpenConnector::new().memory(&memory);
    /// for path in memory.entries() {
    ///     println!("{}: regular connections until {}", path.destination, path.until);
    /// }
    /// # let _ = connector;
    /// ```
    #[must_use]
    pub fn memory(mut self, memory: &PathMemory) -> Self {
        self.connector = self.connector.memory(memory);
        self
    }

    /// Sets whether small segments are sent at once (`TCP_NODELAY`). Default: off, as in hyper's own connector.
    #[must_use]
    pub fn nodelay(mut self, on: bool) -> Self {
        self.nodelay = on;
        self
    }

    /// Calls this for each new connection, for clients that do not pass extensions on.
    #[must_use]
    pub fn on_connect(mut self, call: impl Fn(Handshake) + Send + Sync + 'static) -> Self {
        self.on_connect = Some(Arc::new(call));
        self
    }

    async fn connect(self, uri: Uri) -> io::Result<TokioIo<FastOpenStream>> {
        let https = uri.scheme() == Some(&Scheme::HTTPS);
        let Some(host) = uri.host() else {
            let error = format!("connect failed: {uri} has no host; use an absolute URI");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let connector =
            if https || self.allow_in_syn { self.connector } else { self.connector.regular() };
        let connector = connector.client_speaks_first(true);
        let stream = connect_to_any(&connector, lookup_host((host, port)).await?.collect()).await?;
        if self.nodelay {
            stream.set_nodelay(true)?;
        }
        if let Some(call) = self.on_connect {
            call(stream.handshake());
        }
        Ok(TokioIo::new(stream))
    }
}

/// How long the first family has a chance alone. A connection whose SYN is deferred takes no time.
const HEAD_START: Duration = Duration::from_millis(300);

/// Connects to the family of the first address, and after a head start, or when that has failed, to the other one as
/// well.
async fn connect_to_any(
    connector: &Connector,
    addresses: Vec<SocketAddr>,
) -> io::Result<FastOpenStream> {
    let is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == is_v6);
    if other.is_empty() {
        return connector.connect_on_write(&first[..]).await;
    }
    let mut first = pin!(connector.connect_on_write(&first[..]));
    let mut head_start = pin!(sleep(HEAD_START));
    let mut other = pin!(connector.connect_on_write(&other[..]));
    let (mut failed, mut other_failed) = (None, None);
    let mut alone = true;
    poll_fn(|cx| {
        if failed.is_none() {
            match first.as_mut().poll(cx) {
                Poll::Ready(Ok(stream)) => return Poll::Ready(Ok(stream)),
                Poll::Ready(Err(e)) => failed = Some(e),
                Poll::Pending => {
                    alone = alone && head_start.as_mut().poll(cx).is_pending();
                    if alone {
                        return Poll::Pending;
                    }
                }
            }
        }
        if other_failed.is_none() {
            match other.as_mut().poll(cx) {
                Poll::Ready(Ok(stream)) => return Poll::Ready(Ok(stream)),
                Poll::Ready(Err(e)) => other_failed = Some(e),
                Poll::Pending => {}
            }
        }
        match failed.take_if(|_| other_failed.is_some()) {
            Some(e) => Poll::Ready(Err(e)),
            None => Poll::Pending,
        }
    })
    .await
}

impl fmt::Debug for FastOpenConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FastOpenConnector")
            .field("connector", &self.connector)
            .field("allow_in_syn", &self.allow_in_syn)
            .field("nodelay", &self.nodelay)
            .finish_non_exhaustive()
    }
}

impl Service<Uri> for FastOpenConnector {
    type Response = TokioIo<FastOpenStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// Adds the [`Handshake`] to the extensions of each response.
impl Connection for FastOpenStream {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.handshake())
    }
}

#[cfg(test)]
mod tests {
    use ::tokio::runtime::Builder;

    use super::*;
    use crate::lab::{Network, PathSettings, isolated};
    use crate::socket::FastOpenListener;

    #[test]
    fn second_family_is_tried_after_a_failure_or_a_head_start() {
        isolated(|| {
            let net = Network::new(PathSettings::new()).expect("namespaces can be made here");
            let v6 = SocketAddr::new(Network::server_address(true), 80);
            let listener =
                net.server().run(move || FastOpenListener::bind(v6)).expect("it is free");
            let refused = SocketAddr::new(Network::server_address(false), 80);
            let silent = SocketAddr::from(([192, 0, 2, 77], 80));
            net.client().run(move || {
                let runtime = Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(async move {
                    let connector = Connector::default();
                    for first in [refused, silent] {
                        let stream = connect_to_any(&connector, vec![first, v6]).await;
                        assert_eq!(stream.expect("the second one").peer_addr(), v6, "{first}");
                    }
                    // Its cookie is cached by now: it is taken without asking.
                    let stream = connect_to_any(&connector, vec![v6, refused]).await;
                    assert_eq!(stream.expect("deferred").handshake().attempt(), None);
                    let closed = SocketAddr::new(v6.ip(), 81);
                    let closed = connect_to_any(&connector, vec![refused, closed]).await;
                    // A cookie belongs to the address: the first write to the closed port fails.
                    assert!(closed.is_ok());
                    let none = connect_to_any(&connector, Vec::new()).await;
                    assert_eq!(none.expect_err("no address").kind(), io::ErrorKind::InvalidInput);
                });
            });
            drop(listener);
        });
    }
}
