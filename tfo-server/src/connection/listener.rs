//! The state that all connections of a listener share.

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

/// Maximum header and idle timeout on the server's internal listeners: their clients send a request as soon as they are
/// connected.
const MAX_INTERNAL_TIMEOUT: Duration = Duration::from_secs(5);

/// One listener, as seen by its connections. A connection keeps the context that it started with.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting, or derived from settings")]
pub(crate) struct ListenerContext {
    pub(crate) address: SocketAddr,
    pub(crate) service: Service,
    /// The descriptors that each connection needs.
    pub(crate) cost: DescriptorCost,
    pub(crate) await_handshake: bool,
    /// A PROXY protocol header precedes the client's bytes.
    pub(crate) expects_header: bool,
    /// Collect the evidence on each arrival.
    pub(crate) inspect: bool,
    /// Keep the evidence until the connection ends.
    pub(crate) keep_evidence: bool,
    pub(crate) limits: Limits,
    pub(crate) observer: ServerObserver,
    /// The counters of this worker for this listener.
    pub(crate) stats: Arc<ListenerStats>,
}

impl ListenerContext {
    /// Creates the context of an internal listener, whose connections are neither inspected nor logged.
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
