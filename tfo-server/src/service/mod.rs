//! What the server does with a connection's bytes. Each service is one file, behind one trait.
//!
//! A session is given bytes and says what to send: it never sees a socket, a clock or a thread, so
//! that it serves any engine.

mod discard;
mod echo;
mod mirror;
pub(crate) mod proxy_protocol;

use tfo_core::diagnosis::ServerEvidence;
use tfo_core::observer::ServerObserver;
use tfo_core::socket::Arrival;

use crate::config::values::Service;

/// One connection's service.
pub(crate) trait Session {
    /// The peer sent `bytes`. What is put into `out` is sent before more is read, so that a peer
    /// that does not read can't make it grow.
    fn received(&mut self, bytes: &[u8], out: &mut Vec<u8>, context: &mut Context<'_>) -> Next;
}

/// What comes after the bytes that were put into `out`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// More of the peer's bytes.
    Read,
    /// The end of this connection.
    Close,
}

/// What a session may know of its connection.
pub(crate) struct Context<'a> {
    pub(crate) arrival: &'a Arrival,
    pub(crate) observer: &'a mut ServerObserver,
    /// The evidence, once somebody has read all of it.
    pub(crate) evidence: &'a mut Option<ServerEvidence>,
}

/// A session of this service. Those without a state of their own cost no allocation.
pub(crate) fn session(service: Service) -> Box<dyn Session> {
    match service {
        Service::Mirror => Box::<mirror::Mirror>::default(),
        Service::Echo => Box::new(echo::Echo),
        Service::Discard | Service::Respond | Service::Forward => Box::new(discard::Discard),
    }
}
