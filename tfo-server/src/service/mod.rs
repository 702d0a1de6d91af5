//! What the server does with the bytes of a connection.
//!
//! A session is given bytes and returns what to send: it never sees a socket, a clock or a thread. Connections that
//! are forwarded have no session: `connection::relay` moves their bytes to the upstream that `forward` chooses.
//!
//! To add a service: a `ServiceKind` and its settings in `config`, a variant of [`Service`], and a [`Session`].

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

/// A service with what it needs, made once and shared by all workers.
#[derive(Debug, Clone)]
pub(crate) enum Service {
    Mirror,
    Echo,
    Discard,
    Respond(Arc<Respond>),
    /// No session: the engine moves its bytes.
    Forward(Arc<Forward>),
}

impl Service {
    /// Reads what the settings name.
    pub(crate) fn new(listen: &ListenSettings) -> Result<Self, Failure> {
        Ok(match listen.table.service {
            ServiceKind::Mirror => Self::Mirror,
            ServiceKind::Echo => Self::Echo,
            ServiceKind::Discard => Self::Discard,
            ServiceKind::Respond => Self::Respond(Arc::new(Respond::new(&listen.respond)?)),
            ServiceKind::Forward => Self::Forward(Arc::new(Forward::new(&listen.forward))),
        })
    }

    /// Begins with what runs beside the connections; again: does nothing.
    pub(crate) fn start(&self) -> io::Result<()> {
        if let Self::Forward(forward) = self { forward.start() } else { Ok(()) }
    }

    /// Ends what `start` has begun, because no listener uses it any more. Open connections go on.
    pub(crate) fn stop(&self) {
        if let Self::Forward(forward) = self {
            forward.stop();
        }
    }

    /// Whether this is the same service, and not merely an equal one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Forward(one), Self::Forward(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// The service before, which knows its upstreams, if nothing has changed.
    pub(crate) fn with_state_of(self, before: &Self) -> Self {
        match (&self, before) {
            (Self::Forward(new), Self::Forward(old)) if new.settings == old.settings => {
                before.clone()
            }
            _ => self,
        }
    }

    /// Answers HTTP requests with what `handler` returns.
    pub(crate) fn http(handler: Box<dyn Handler>) -> Self {
        Self::Respond(Arc::new(Respond::Made(handler)))
    }

    /// What forwards its connections, if they are forwarded.
    pub(crate) const fn forward(&self) -> Option<&Arc<Forward>> {
        match self {
            Self::Forward(forward) => Some(forward),
            _ => None,
        }
    }

    /// What `respond` answers.
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

    /// Whether it tells the client of its SYN, so that it can't do without.
    pub(crate) const fn needs_evidence(&self) -> bool {
        matches!(self, Self::Mirror)
    }

    /// For one connection. Those without a state of their own cost no allocation.
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
