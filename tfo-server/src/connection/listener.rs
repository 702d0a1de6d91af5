//! What the connections of a listener share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tfo_core::cli::Integer;
use tfo_core::probe::ServerObserver;

use super::budget::DescriptorCost;
use crate::config::file::Limits;
use crate::config::values::{EarlyData, EvidenceLevel, ProxyIn};
use crate::config::{ListenSettings, Settings};
use crate::metrics::stats::ListenerStats;
use crate::service::Service;

/// How long peers of a listener of the server's own may be silent: a request follows at the heels of its
/// connection.
const MAX_INTERNAL_TIMEOUT: Duration = Duration::from_secs(5);

/// One listener, as its connections see it. A connection keeps the context that it began with.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting, or follows from some")]
pub(crate) struct ListenerContext {
    pub(crate) address: SocketAddr,
    pub(crate) service: Service,
    /// What each of its connections takes of the descriptors.
    pub(crate) cost: DescriptorCost,
    pub(crate) await_handshake: bool,
    /// A PROXY protocol header comes first.
    pub(crate) expects_header: bool,
    /// Inspect how each connection arrived.
    pub(crate) inspect: bool,
    /// Keep what was seen until the end of the connection.
    pub(crate) keep_evidence: bool,
    pub(crate) limits: Limits,
    pub(crate) observer: ServerObserver,
    /// The worker's own for this listener.
    pub(crate) stats: Arc<ListenerStats>,
}

impl ListenerContext {
    /// For a listener of the server's own, whose connections are neither inspected nor logged.
    pub(crate) fn internal(
        address: SocketAddr,
        service: Service,
        limits: &Limits,
        observer: ServerObserver,
    ) -> Self {
        let limits = Limits {
            connections_per_source: const { Integer::new(0) },
            header_timeout: limits.header_timeout.at_most(MAX_INTERNAL_TIMEOUT),
            idle_timeout: limits.idle_timeout.at_most(MAX_INTERNAL_TIMEOUT),
            ..limits.clone()
        };
        Self {
            address,
            service,
            cost: DescriptorCost::Single,
            await_handshake: false,
            expects_header: false,
            inspect: false,
            keep_evidence: false,
            limits,
            observer,
            stats: Arc::default(),
        }
    }

    pub(crate) fn new(
        settings: &Settings,
        listen: &ListenSettings,
        service: Service,
        observer: ServerObserver,
        stats: Arc<ListenerStats>,
    ) -> Self {
        let inspect = settings.engine.evidence == EvidenceLevel::Full || service.needs_evidence();
        Self {
            address: listen.address,
            cost: if service.forward().is_some() {
                DescriptorCost::Pair
            } else {
                DescriptorCost::Single
            },
            await_handshake: listen.table.early_data == EarlyData::AwaitHandshake,
            expects_header: listen.table.proxy_protocol == ProxyIn::Required,
            inspect,
            keep_evidence: inspect && (settings.prints_lines() || service.needs_evidence()),
            limits: settings.limits.clone(),
            service,
            observer,
            stats,
        }
    }
}
