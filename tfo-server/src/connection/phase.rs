//! The phases of a connection.

use super::leg::AfterSend;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waits for the client to complete the handshake; nothing is read before.
    AwaitsHandshake,
    /// Reads the PROXY header.
    AwaitsHeader,
    /// The PROXY header is complete. Bytes that followed it belong to the service.
    ClientKnown,
    /// Reads from the client and sends the session's output.
    Open,
    /// The session holds input that it has not processed yet.
    HasInput,
    /// Closes once all output is sent.
    Closing,
    /// Sends a FIN once all output is sent; the peer may still be sending.
    ShuttingDown,
    /// Idle while the server is stopping: closes, unless a request is already readable.
    LastRead,
    /// The FIN is sent; reads and discards until the peer closes.
    Lingering,
    /// As [`Lingering`](Self::Lingering), for a connection that was closed while idle.
    LingeringIdle,
}

impl Phase {
    /// Returns what follows the bytes of an answer.
    pub(super) fn after_send(self) -> AfterSend {
        match self {
            Self::Closing => AfterSend::Close,
            Self::ShuttingDown => AfterSend::Shutdown,
            _ => AfterSend::Nothing,
        }
    }
}
