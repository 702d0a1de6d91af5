//! A session: the state of a service for one connection.

use tfo_core::diagnosis::ServerEvidence;

use super::http::Date;
use super::output::SessionOutput;
use super::respond::Respond;

/// The service of one connection.
pub(crate) trait Session {
    /// Handles `bytes` from the peer. `out` is sent before more is read, so that a peer that does not read cannot make
    /// it grow.
    fn received(
        &mut self,
        bytes: &[u8],
        out: &mut SessionOutput,
        context: &mut SessionContext<'_>,
    ) -> SessionAction;

    /// Returns how many received bytes the session holds. They count towards [`SessionContext::buffer`].
    fn held(&self) -> usize {
        0
    }

    /// Returns whether all requests are answered and the peer expects no other answer.
    fn is_idle(&self) -> bool {
        false
    }

    /// Returns what to send after the peer's FIN, before the connection closes: a few bytes, or none.
    fn last_bytes(&self) -> &'static [u8] {
        &[]
    }

    /// Handles a request that is not complete at its deadline. Appends the protocol's answer to `out` and returns true,
    /// after which the connection closes gracefully; or returns false if the protocol has no such answer.
    fn timed_out(&mut self, _out: &mut SessionOutput, _date: &Date) -> bool {
        false
    }
}

/// What follows once `out` is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionAction {
    /// Read the next request or more bytes. The idle timeout applies.
    Read,
    /// Read the rest of an unfinished request. Its header timeout continues, however its bytes arrive.
    More,
    /// Read the rest of a request whose first byte arrived with this call, possibly behind the end of another request.
    /// Its header timeout starts.
    Begun,
    /// Call again without new bytes: the session holds unprocessed input.
    Again,
    /// Close at once: the request was read completely. The last bytes and the FIN leave together.
    Close,
    /// Send a FIN, and close once the peer has closed. The peer may still be sending, and a close with unread bytes
    /// would turn the FIN into a reset.
    Linger,
}

/// The parts of a connection that a session may use.
pub(crate) struct SessionContext<'a> {
    /// The answer of `respond`. Passed with each call, because holding it would cost each session memory.
    pub(crate) respond: Option<&'a Respond>,
    /// Maximum number of received bytes to hold, and of bytes to append to a [`SessionOutput`] (`limits.buffer`).
    /// Shared bodies do not count.
    pub(crate) buffer: usize,
    /// The current time as an HTTP `Date` field.
    pub(crate) date: &'a Date,
    /// The server is stopping: received requests are answered, and connections are not kept open for more.
    pub(crate) ending: bool,
    /// Returns all evidence on the arrival. Collects it first if necessary.
    pub(crate) evidence: &'a mut dyn FnMut() -> Option<ServerEvidence>,
}
