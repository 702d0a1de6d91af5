//! How far a connection is.

use super::leg::AfterSend;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The SYN's data must not be seen before the client has completed the handshake.
    AwaitsHandshake,
    /// A proxy says first whose connection it is.
    AwaitsHeader,
    /// The proxy's header is read; what came behind it is the service's.
    ClientKnown,
    /// Reads and answers.
    Open,
    /// The session holds more input.
    HasInput,
    /// The end, once all bytes have left.
    Closing,
    /// The same, but the peer may still be sending.
    ShuttingDown,
    /// Idle while the server stops: the end, unless a request has come by now.
    LastRead,
    /// This half is closed; reads on until the peer has closed too.
    Lingering,
    /// The same, of a connection that was closed while it was idle.
    LingeringIdle,
}

impl Phase {
    /// What follows the bytes of an answer.
    pub(super) fn after_send(self) -> AfterSend {
        match self {
            Self::Closing => AfterSend::Close,
            Self::ShuttingDown => AfterSend::Shutdown,
            _ => AfterSend::Nothing,
        }
    }
}
