//! What the server does with the bytes of a connection.
//!
//! A session receives bytes and returns what to send. It never uses a socket, a clock or a thread. Forwarded
//! connections have no session: `connection::relay` moves their bytes to the upstream that [`forward`] chooses.
//!
//! To add a service: add a `ServiceKind` and its settings in `config`, a variant of [`Service`], and a [`Session`].

pub(crate) mod forward;
pub(crate) mod http;
pub(crate) mod http_session;
mod mirror;
mod output;
pub(crate) mod proxy_protocol;
pub(crate) mod respond;
mod session;
mod stateless;

use std::io;
use std::sync::Arc;

use crate::config::ListenSettings;
use crate::config::values::ServiceKind;
use crate::output::Failure;

use forward::Forward;
use http::Handler;
use http_session::Http;
use mirror::Mirror;
use respond::Respond;
use stateless::{Discard, Echo, FixedAnswer};

pub(crate) use output::SessionOutput;
pub(crate) use session::{Session, SessionAction, SessionContext};

/// A service with its resources, created once and shared by all workers.
#[derive(Debug, Clone)]
pub(crate) enum Service {
    Mirror,
    Echo,
    Discard,
    Respond(Arc<Respond>),
    /// Has no session: the connection's relay moves the bytes.
    Forward(Arc<Forward>),
}

impl Service {
    /// Creates the service, and reads the files that its settings name.
    pub(crate) fn new(listen: &ListenSettings) -> Result<Self, Failure> {
        Ok(match listen.table.service {
            ServiceKind::Mirror => Self::Mirror,
            ServiceKind::Echo => Self::Echo,
            ServiceKind::Discard => Self::Discard,
            ServiceKind::Respond => Self::Respond(Arc::new(Respond::new(&listen.respond)?)),
            ServiceKind::Forward => Self::Forward(Arc::new(Forward::new(&listen.forward))),
        })
    }

    /// Starts background tasks. Further calls do nothing.
    pub(crate) fn start(&self) -> io::Result<()> {
        if let Self::Forward(forward) = self { forward.start() } else { Ok(()) }
    }

    /// Stops the background tasks, because no listener uses the service any more. Open connections continue.
    pub(crate) fn stop(&self) {
        if let Self::Forward(forward) = self {
            forward.stop();
        }
    }

    /// Returns whether both are the same instance.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Forward(one), Self::Forward(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// Returns `before`, with the state of its upstreams, if the settings are equal; else `self`.
    pub(crate) fn with_state_of(self, before: &Self) -> Self {
        match (&self, before) {
            (Self::Forward(new), Self::Forward(old)) if new.settings == old.settings => {
                before.clone()
            }
            _ => self,
        }
    }

    /// Creates a service that answers HTTP requests with the responses of `handler`.
    pub(crate) fn http(handler: Box<dyn Handler>) -> Self {
        Self::Respond(Arc::new(Respond::Made(handler)))
    }

    /// Returns the forwarder, if this service forwards.
    pub(crate) const fn forward(&self) -> Option<&Arc<Forward>> {
        match self {
            Self::Forward(forward) => Some(forward),
            _ => None,
        }
    }

    /// Returns the answer of `respond`.
    pub(crate) fn respond(&self) -> Option<&Respond> {
        match self {
            Self::Respond(respond) => Some(respond),
            _ => None,
        }
    }

    pub(crate) const fn kind(&self) -> ServiceKind {
        match self {
            Self::Mirror => ServiceKind::Mirror,
            Self::Echo => ServiceKind::Echo,
            Self::Discard => ServiceKind::Discard,
            Self::Respond(_) => ServiceKind::Respond,
            Self::Forward(_) => ServiceKind::Forward,
        }
    }

    /// Returns whether the service reports the arrival's evidence to the client, and therefore requires it.
    pub(crate) const fn needs_evidence(&self) -> bool {
        matches!(self, Self::Mirror)
    }

    /// Creates a session. Sessions without state need no allocation.
    pub(crate) fn session(&self) -> Box<dyn Session> {
        match self {
            Self::Mirror => Box::<Mirror>::default(),
            Self::Echo => Box::new(Echo),
            Self::Discard | Self::Forward(_) => Box::new(Discard),
            Self::Respond(respond) if respond.is_http() => Box::new(Http::new()),
            Self::Respond(_) => Box::new(FixedAnswer),
        }
    }
}
