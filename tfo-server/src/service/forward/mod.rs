//! Hands connections to upstreams: which one, how it is connected to, and what it is told first. The
//! bytes are moved by the engine's relay.
//!
//! **What is never sent twice.** An upstream that can't be reached is replaced by the next one, as
//! long as no byte of the client's has left. Bytes that rode a SYN have left: a server, or a box in
//! between, may have acted on them although it seemed to refuse, so that their client is closed and
//! not served by another. A PROXY protocol header alone asks for nothing, and does not count.

mod health;
mod syn_data;
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
use syn_data::SynDataPermit;
use upstreams::Upstreams;
pub(crate) use upstreams::{UpstreamGuard, UpstreamState};

/// How long what lasts is not said again.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// One listener's upstreams, shared by the workers.
#[derive(Debug)]
pub(crate) struct Forward {
    pub(crate) settings: ForwardSettings,
    upstreams: Arc<Upstreams>,
    checks: Mutex<Option<HealthChecks>>,
    /// When it was last said that a socket could not be had.
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

    /// Starts the health checks, if there are to be some and they do not run yet.
    pub(crate) fn start(&self) -> io::Result<()> {
        let Some(interval) = self.settings.health_interval.nonzero() else { return Ok(()) };
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        if checks.is_none() {
            let timeout = self.settings.connect_timeout.get();
            *checks = Some(HealthChecks::start(&self.upstreams, interval, timeout)?);
        }
        Ok(())
    }

    /// Ends the health checks. Connections that are open keep their upstreams.
    pub(crate) fn stop(&self) {
        *self.checks.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether a new connection would get an upstream.
    pub(crate) fn is_ready(&self) -> bool {
        self.upstreams.has_usable()
    }

    /// The upstreams as they are now.
    pub(crate) fn states(&self) -> impl Iterator<Item = UpstreamState> {
        self.upstreams.states()
    }

    /// Whether upstreams are told whose connection it is.
    pub(crate) fn sends_header(&self) -> bool {
        self.settings.proxy_protocol != ProxyOut::Off
    }

    /// No connection could be begun, for a reason of this host: said now and then.
    pub(crate) fn log_no_socket(&self, e: &Error) {
        let mut last_log = self.no_socket_logged.lock().unwrap_or_else(PoisonError::into_inner);
        if last_log.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            *last_log = Some(Instant::now());
            log::warn!(
                "no socket for an upstream ({}): its client is closed. Out of descriptors? Raise the \
                 limit (ulimit -n, LimitNOFILE= in systemd), or lower limits.connections to half of it",
                error_chain(e)
            );
        }
    }

    /// The upstream whose turn it is; `None`: all are down.
    pub(crate) fn choose(&self) -> Option<UpstreamGuard> {
        self.upstreams.choose()
    }

    /// Whether upstreams get the extensions of the client's header too.
    pub(crate) fn sends_extensions(&self) -> bool {
        self.settings.proxy_protocol == ProxyOut::V2
    }

    /// Appends what an upstream is told before the client's bytes.
    pub(crate) fn header(
        &self,
        addresses: ProxiedAddresses,
        extensions: Extensions<'_>,
        out: &mut Vec<u8>,
    ) {
        proxy_protocol::build(self.settings.proxy_protocol, addresses, extensions, out);
    }

    /// Starts to connect, with `first` in the SYN where that is wanted and possible. Its first `header` bytes
    /// are a header, which may be sent twice.
    pub(crate) fn connect(
        &self,
        upstream: &mut UpstreamGuard,
        first: &[u8],
        header: usize,
    ) -> tfo_core::Result<FastOpenStream> {
        let wanted = self.settings.fast_open.get() && !first.is_empty();
        let permit = if wanted { upstream.permit_syn_data() } else { SynDataPermit::No };
        let in_syn = match permit {
            // The client of a trial that carries the header alone can still be served when it fails.
            SynDataPermit::Trial if header > 0 => first.get(..header).unwrap_or(first),
            _ => first,
        };
        let method = if permit == SynDataPermit::No { Method::Off } else { Method::Auto };
        let connector = Connector::default().method(method);
        let stream = connector.connect_nonblocking(upstream.address(), in_syn)?;
        upstream.syn_left(matches!(stream.attempt(), Some(Attempt::InSyn(1..))));
        Ok(stream)
    }
}
