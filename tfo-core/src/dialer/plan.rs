//! The settings of a dialer, which each of its dials follows.

use std::net::SocketAddr;
use std::time::Duration;

use super::PathMemory;
use crate::socket::{Attempt, Connector, FastOpenStream};

/// The rule for when a [`Dialer`](super::Dialer) uses fast open.
///
/// ```
/// use tfo_core::dialer::{Dialer, Policy};
///
/// let dialer = Dialer::new().policy(Policy::Off);
/// # let _ = dialer;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Policy {
    /// Never: regular connections only.
    Off,
    /// Where the path allows it.
    #[default]
    Try,
    /// For each message that may ride the SYN, whatever was remembered, and without a regular connection beside it. Fails
    /// if this host does not allow fast open. [`FastOpenStream::info`] shows whether the server accepted the data.
    Require,
}

/// The settings of each dial.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    pub(super) policy: Policy,
    pub(super) memory: PathMemory,
    pub(super) hedge: Option<Duration>,
    pub(super) connector: Connector,
}

impl Plan {
    /// Starts a connection: with `first` by fast open, or a regular one.
    pub(super) fn start(
        &self,
        server: SocketAddr,
        first: &[u8],
        regular: Option<Attempt>,
    ) -> crate::Result<FastOpenStream> {
        match regular {
            None => self.connector.connect_nonblocking(server, first),
            Some(attempt) => self.connector.connect_regular(server, attempt),
        }
    }
}
