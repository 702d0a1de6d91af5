//! What a client says and hears on a watched connection after its first bytes.

use std::time::Duration;

/// The client's side of a conversation. Its first bytes are not part of it: they are ready before the
/// connection is made, so that the SYN can take them.
///
/// For protocols in which the client speaks more than once, such as a TLS handshake; an answer that is
/// only read needs no more than [`Probe::run`](super::Probe::run).
pub trait Dialogue {
    /// Takes bytes of the peer, which came so long after the start of the connection, and says what is
    /// next.
    fn received(&mut self, bytes: &[u8], at: Duration) -> Next;

    /// Called when the peer has closed its side, with the time since the start.
    fn closed(&mut self, _at: Duration) {}
}

/// The next step of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Next {
    /// More is to come from the peer.
    Read,
    /// These bytes are to be sent; then more is to come from the peer.
    Send(Vec<u8>),
    /// These bytes are to be sent, and with them all has been said.
    SendLast(Vec<u8>),
    /// All has been said.
    End,
}

/// The most that is kept of an answer.
const MAX_ANSWER: usize = 16 * 1024;

/// An answer that is only read.
pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
    is_complete: fn(&[u8]) -> bool,
}

impl Answer {
    pub(super) fn new(is_complete: fn(&[u8]) -> bool) -> Self {
        Self { bytes: Vec::new(), is_complete }
    }
}

impl Dialogue for Answer {
    fn received(&mut self, bytes: &[u8], _at: Duration) -> Next {
        let room = MAX_ANSWER.saturating_sub(self.bytes.len()).min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..room]);
        let full = room < bytes.len();
        if full || (self.is_complete)(&self.bytes) { Next::End } else { Next::Read }
    }
}
