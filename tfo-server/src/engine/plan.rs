//! What a worker needs to know to serve a listener's connections.

use std::net::SocketAddr;

use tfo_core::observer::ServerObserver;

use crate::config::values::{EarlyData, EvidenceLevel};
use crate::config::{Limits, ListenSettings, Settings};
use crate::service::Prepared;

/// The settings of one listener. A connection keeps those that it began with.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) address: SocketAddr,
    pub(super) service: Prepared,
    pub(super) await_handshake: bool,
    /// Look at how each connection arrived.
    pub(super) look: bool,
    /// Keep what was seen until the end of the connection.
    pub(super) keep: bool,
    pub(super) limits: Limits,
    pub(super) observer: ServerObserver,
}

impl Plan {
    pub(super) fn new(
        settings: &Settings,
        listen: &ListenSettings,
        service: Prepared,
        observer: ServerObserver,
    ) -> Self {
        let look = settings.evidence == EvidenceLevel::Full || service.needs_evidence();
        Self {
            address: listen.address,
            await_handshake: listen.early_data == EarlyData::AwaitHandshake,
            look,
            keep: look && (settings.prints_lines() || service.needs_evidence()),
            limits: settings.limits.clone(),
            service,
            observer,
        }
    }
}
