//! What the server does with a connection's bytes. Each service is one file, behind one trait.
//!
//! A session is given bytes and says what to send: it never sees a socket, a clock or a thread, so
//! that it serves any engine.

mod discard;
mod echo;
pub(crate) mod forward;
pub(crate) mod http;
mod mirror;
pub(crate) mod proxy_protocol;
mod respond;

use std::io;
use std::sync::Arc;

use tfo_core::diagnosis::ServerEvidence;

use crate::config::ServiceSettings;
use crate::config::values::Service;
use crate::metrics::endpoint::{Metrics, Source};

use forward::Forward;
use respond::Respond;

/// One connection's service.
pub(crate) trait Session {
    /// The peer sent `bytes`. What is put into `out` is sent before more is read, so that a peer
    /// that does not read can't make it grow.
    fn received(&mut self, bytes: &[u8], out: &mut Out, context: &mut Context<'_>) -> Next;

    /// How many bytes it holds of what came, to go on with: they count towards [`Context::buffer`].
    fn held(&self) -> usize {
        0
    }

    /// Whether all requests that have come are answered, and the peer counts on no other.
    fn at_rest(&self) -> bool {
        false
    }

    /// The request that has begun was not complete in time. Puts the protocol's answer to that into
    /// `out`, if it has one, and returns whether it has: the connection then ends gracefully.
    fn timed_out(&mut self, _out: &mut Out, _date: &http::Date) -> bool {
        false
    }
}

/// What comes once `out` has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The peer's next request, or more bytes; it may be silent for the idle timeout.
    Read,
    /// The rest of a request that has begun: the header timeout runs, however its bytes come.
    More,
    /// The rest of a request whose first byte came with the bytes of this call, perhaps behind the end
    /// of another request: the header timeout starts anew.
    Begun,
    /// Bytes that this session holds already: it is called again, with none.
    Again,
    /// The end, at once: the request was read whole. The last bytes and the FIN leave together.
    Close,
    /// The end, once the peer has ended too: it may still be sending, and closing with unread bytes
    /// would turn the FIN into a reset.
    Linger,
}

/// What is to be sent: `bytes`, then `shared`.
#[derive(Debug, Default)]
pub(crate) struct Out {
    /// The worker's own, so that an answer costs no allocation.
    pub(crate) bytes: Vec<u8>,
    /// What many connections are sent.
    pub(crate) shared: Option<Arc<[u8]>>,
}

impl Out {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.shared = None;
    }
}

/// What a session may know of its connection.
pub(crate) struct Context<'a> {
    pub(crate) service: &'a Prepared,
    /// The most bytes to hold of what came, and the most to put into an [`Out`] (`limits.buffer`). A body that
    /// many connections share does not count.
    pub(crate) buffer: usize,
    /// What time it is, as HTTP says it.
    pub(crate) date: &'a http::Date,
    /// The server is about to end: what has come is answered, and nothing is kept open for more.
    pub(crate) ending: bool,
    /// All that is known of how it arrived; read now, if that was not done before.
    pub(crate) evidence: &'a mut dyn FnMut() -> Option<ServerEvidence>,
}

/// A service with what it needs, made once and shared by all workers.
#[derive(Debug, Clone)]
pub(crate) enum Prepared {
    Mirror,
    Echo,
    Discard,
    Respond(Arc<Respond>),
    /// No session: the engine moves its bytes.
    Forward(Arc<Forward>),
}

impl Prepared {
    /// Reads what the settings name.
    pub(crate) fn new(settings: &ServiceSettings) -> io::Result<Self> {
        Ok(match settings {
            ServiceSettings::Mirror => Self::Mirror,
            ServiceSettings::Echo => Self::Echo,
            ServiceSettings::Discard => Self::Discard,
            ServiceSettings::Respond(respond) => Self::Respond(Arc::new(Respond::new(respond)?)),
            ServiceSettings::Forward(forward) => Self::Forward(Arc::new(Forward::new(forward))),
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

    /// Answers with what is measured.
    pub(crate) fn metrics(source: Arc<dyn Source>) -> Self {
        Self::Respond(Arc::new(Respond::Made(Metrics::new(source))))
    }

    /// What forwards its connections, if they are forwarded.
    pub(crate) const fn forward(&self) -> Option<&Arc<Forward>> {
        match self {
            Self::Forward(forward) => Some(forward),
            _ => None,
        }
    }

    pub(crate) const fn kind(&self) -> Service {
        match self {
            Self::Mirror => Service::Mirror,
            Self::Echo => Service::Echo,
            Self::Discard => Service::Discard,
            Self::Respond(_) => Service::Respond,
            Self::Forward(_) => Service::Forward,
        }
    }

    /// Whether it tells the client of its SYN, so that it can't do without.
    pub(crate) const fn needs_evidence(&self) -> bool {
        matches!(self, Self::Mirror)
    }

    /// For one connection. Those without a state of their own cost no allocation.
    pub(crate) fn session(&self) -> Box<dyn Session> {
        match self {
            Self::Mirror => Box::<mirror::Mirror>::default(),
            Self::Echo => Box::new(echo::Echo),
            Self::Discard | Self::Forward(_) => Box::new(discard::Discard),
            Self::Respond(respond) => respond.session(),
        }
    }
}
