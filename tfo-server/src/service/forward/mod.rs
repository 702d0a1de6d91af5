//! Forwards connections to upstreams: chooses an upstream, connects to it, and builds the PROXY header. The relay of
//! the connection moves the bytes.
//!
//! Invariant: no byte of a client is sent twice. If an upstream cannot be reached, the next one is tried only if no
//! byte of the client's was sent. Bytes in a SYN count as sent: a server or a middlebox may have acted on them although
//! the connection was refused, so the client is closed instead of being served by another upstream. A PROXY header
//! alone requests nothing and does not count.

mod health;
mod upstreams;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tfo_core::Error;
use tfo_core::cli::error_chain;
use tfo_core::socket::Attempt;
use tfo_core::socket::{Connector, FastOpenStream, Method};

use super::proxy_protocol::{self, Extensions, ProxiedAddresses};
use crate::config::file::Forward as ForwardSettings;
use crate::config::values::ProxyOut;

use health::HealthChecks;
pub(crate) use health::{CheckResult, check_once, is_local_failure};
use upstreams::Upstreams;
pub(crate) use upstreams::{UpstreamGuard, UpstreamState};

/// Minimum time between repeated log lines on a lasting problem.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The upstreams of one listener, shared by all workers.
#[derive(Debug)]
pub(crate) struct Forward {
    pub(crate) settings: ForwardSettings,
    upstreams: Arc<Upstreams>,
    checks: Mutex<Option<HealthChecks>>,
    /// When the lack of sockets was last logged.
    no_socket_logged: Mutex<Option<Instant>>,
}

impl Forward {
    pub(crate) fn new(settings: &ForwardSettings) -> Self {
        Self {
            settings: settings.clone(),
            upstreams: Arc::new(Upstreams::new(settings)),
            checks: Mutex::default(),
            no_socket_logged: Mutex::default(),
        }
    }

    /// Starts the health checks, if they are configured and not running.
    pub(crate) fn start(&self) -> io::Result<()> {
        let Some(interval) = self.settings.health_interval.nonzero() else { return Ok(()) };
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        if checks.is_none() {
            let timeout = self.settings.connect_timeout.get();
            *checks = Some(HealthChecks::start(&self.upstreams, interval, timeout)?);
        }
        Ok(())
    }

    /// Stops the health checks. Open connections keep their upstreams.
    pub(crate) fn stop(&self) {
        *self.checks.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Returns whether a new connection would get an upstream.
    pub(crate) fn is_ready(&self) -> bool {
        self.upstreams.has_usable()
    }

    /// Returns the current state of the upstreams.
    pub(crate) fn states(&self) -> impl Iterator<Item = UpstreamState> {
        self.upstreams.states()
    }

    /// Returns whether upstreams receive a PROXY header.
    pub(crate) fn sends_header(&self) -> bool {
        self.settings.proxy_protocol != ProxyOut::Off
    }

    /// Logs, at most once per [`LOG_INTERVAL`], that this host has no socket for an upstream connection.
    pub(crate) fn log_no_socket(&self, e: &Error) {
        let mut last_log = self.no_socket_logged.lock().unwrap_or_else(PoisonError::into_inner);
        if last_log.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            *last_log = Some(Instant::now());
            log::warn!(
                "no socket for an upstream ({}): closing its client. If no descriptors are left, raise the \
                 limit (ulimit -n, LimitNOFILE= in systemd), or lower limits.connections to half of it",
                error_chain(e)
            );
        }
    }

    /// Returns the next upstream, or `None` if all are down.
    pub(crate) fn choose(&self) -> Option<UpstreamGuard> {
        self.upstreams.choose()
    }

    /// Returns whether upstreams also receive the extensions of the client's header.
    pub(crate) fn sends_extensions(&self) -> bool {
        self.settings.proxy_protocol == ProxyOut::V2
    }

    /// Appends the PROXY header for an upstream.
    pub(crate) fn header(
        &self,
        addresses: ProxiedAddresses,
        extensions: Extensions<'_>,
        out: &mut Vec<u8>,
    ) {
        proxy_protocol::build(self.settings.proxy_protocol, addresses, extensions, out);
    }

    /// Starts to connect, with `first` in the SYN if configured and possible. The first `header` bytes are a PROXY
    /// header, which may be sent twice.
    pub(crate) fn connect(
        &self,
        upstream: &mut UpstreamGuard,
        first: &[u8],
        header: usize,
    ) -> tfo_core::Result<FastOpenStream> {
        let wanted = self.settings.fast_open.get() && !first.is_empty();
        let permitted = wanted && upstream.permits_syn_data();
        // A trial that carries only the header leaves its client servable if it fails.
        let in_syn = if permitted && upstream.is_trial() && header > 0 {
            first.get(..header).unwrap_or(first)
        } else {
            first
        };
        let method = if permitted { Method::Auto } else { Method::Off };
        let connector = Connector::default().method(method);
        let stream = connector.connect_nonblocking(upstream.address(), in_syn)?;
        upstream.syn_left(matches!(stream.attempt(), Some(Attempt::InSyn(1..))));
        Ok(stream)
    }
}
