//! What a worker needs to know to serve a listener's connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tfo_core::observer::ServerObserver;

use super::budget::Cost;
use crate::config::values::{EarlyData, EvidenceLevel, ProxyIn};
use crate::config::{Limits, ListenSettings, Settings};
use crate::metrics::stats::ListenerStats;
use crate::service::Prepared;

/// How long peers of a listener of the server's own may be silent: a request follows at the heels of its
/// connection.
const SHORT: Duration = Duration::from_secs(5);

/// The settings of one listener. A connection keeps those that it began with.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting, or follows from some")]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) service: Prepared,
    /// What each of its connections takes of the descriptors.
    pub(crate) cost: Cost,
    pub(crate) await_handshake: bool,
    /// A PROXY protocol header comes first.
    pub(crate) proxied: bool,
    /// Look at how each connection arrived.
    pub(crate) look: bool,
    /// Keep what was seen until the end of the connection.
    pub(crate) keep: bool,
    pub(crate) limits: Limits,
    pub(crate) observer: ServerObserver,
    /// The worker's own for this listener.
    pub(crate) stats: Arc<ListenerStats>,
}

impl Plan {
    /// A listener of the server's own, whose connections are of no interest.
    pub(crate) fn unseen(
        address: SocketAddr,
        service: Prepared,
        limits: &Limits,
        observer: ServerObserver,
    ) -> Self {
        let limits = Limits {
            connections_per_source: None,
            header_timeout: limits.header_timeout.min(SHORT),
            idle_timeout: limits.idle_timeout.min(SHORT),
            ..limits.clone()
        };
        Self {
            address,
            service,
            cost: Cost::Single,
            await_handshake: false,
            proxied: false,
            look: false,
            keep: false,
            limits,
            observer,
            stats: Arc::default(),
        }
    }

    pub(crate) fn new(
        settings: &Settings,
        listen: &ListenSettings,
        service: Prepared,
        observer: ServerObserver,
        stats: Arc<ListenerStats>,
    ) -> Self {
        let look = settings.evidence == EvidenceLevel::Full || service.needs_evidence();
        Self {
            address: listen.address,
            cost: if service.forward().is_some() { Cost::Pair } else { Cost::Single },
            await_handshake: listen.early_data == EarlyData::AwaitHandshake,
            proxied: listen.proxy_protocol == ProxyIn::Required,
            look,
            keep: look && (settings.prints_lines() || service.needs_evidence()),
            limits: settings.limits.clone(),
            service,
            observer,
            stats,
        }
    }
}
