//! A session: one connection's use of a service.

use tfo_core::diagnosis::ServerEvidence;

use super::http::Date;
use super::output::SessionOutput;
use super::respond::Respond;

/// One connection's service.
pub(crate) trait Session {
    /// The peer sent `bytes`. What is put into `out` is sent before more is read, so that a peer
    /// that does not read can't make it grow.
    fn received(
        &mut self,
        bytes: &[u8],
        out: &mut SessionOutput,
        context: &mut SessionContext<'_>,
    ) -> SessionAction;

    /// How many bytes it holds of what came, to go on with: they count towards [`SessionContext::buffer`].
    fn held(&self) -> usize {
        0
    }

    /// Whether all requests that have come are answered, and the peer counts on no other.
    fn is_idle(&self) -> bool {
        false
    }

    /// The request that has begun was not complete in time. Puts the protocol's answer to that into
    /// `out`, if it has one, and returns whether it has: the connection then ends gracefully.
    fn timed_out(&mut self, _out: &mut SessionOutput, _date: &Date) -> bool {
        false
    }
}

/// What comes once `out` has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionAction {
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

/// What a session may know of its connection.
pub(crate) struct SessionContext<'a> {
    /// What `respond` answers. Passed with each call: a session that held it would cost memory for each connection.
    pub(crate) respond: Option<&'a Respond>,
    /// The most bytes to hold of what came, and the most to put into an [`SessionOutput`] (`limits.buffer`). A body that
    /// many connections share does not count.
    pub(crate) buffer: usize,
    /// What time it is, as HTTP says it.
    pub(crate) date: &'a Date,
    /// The server is about to end: what has come is answered, and nothing is kept open for more.
    pub(crate) ending: bool,
    /// All that is known of how it arrived; read now, if that was not done before.
    pub(crate) evidence: &'a mut dyn FnMut() -> Option<ServerEvidence>,
}
