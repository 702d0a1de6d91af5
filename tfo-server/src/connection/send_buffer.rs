//! Output that a socket did not accept at once.

use std::io;
use std::sync::Arc;

use super::leg::{AfterSend, Leg};
use crate::service::SessionOutput;

/// Output that is still to be sent. It exists only while there is any, so that a connection whose output was sent holds
/// no memory for it.
#[derive(Debug)]
pub(super) struct SendBuffer {
    bytes: Box<[u8]>,
    /// Follows `bytes`. Shared by many connections.
    shared: Option<Arc<[u8]>>,
    /// How many bytes of both were sent.
    sent: usize,
}

impl SendBuffer {
    /// Holds `bytes`, of which the first `sent` were sent already.
    pub(super) fn new(bytes: Vec<u8>, sent: usize) -> Self {
        Self { bytes: bytes.into(), shared: None, sent }
    }

    /// Sends `out`. Returns how many bytes were sent, and a buffer with the rest. Usually all bytes are sent, without
    /// an allocation.
    pub(super) fn send(
        leg: &Leg,
        out: &SessionOutput,
        after: AfterSend,
    ) -> io::Result<(usize, Option<Self>)> {
        let SessionOutput { bytes, shared } = out;
        let len = bytes.len();
        let mut sent = leg.send(bytes, before_shared(shared.as_deref(), after))?;
        if let Some(shared) = shared.as_deref().filter(|_| sent == len) {
            sent += leg.send(shared, after)?;
        }
        if sent == len + shared.as_deref().map_or(0, <[u8]>::len) {
            return Ok((sent, None));
        }
        let left = sent.min(len);
        let bytes = bytes.get(left..).unwrap_or_default().into();
        Ok((sent, Some(Self { bytes, shared: shared.clone(), sent: sent - left })))
    }

    /// Sends more bytes. Returns how many were sent.
    pub(super) fn flush(&mut self, leg: &Leg, after: AfterSend) -> io::Result<usize> {
        let Self { bytes, shared, sent } = self;
        let (before, len) = (*sent, bytes.len());
        if let Some(rest) = bytes.get(*sent..).filter(|rest| !rest.is_empty()) {
            *sent += leg.send(rest, before_shared(shared.as_deref(), after))?;
        }
        if let Some(rest) =
            shared.as_deref().and_then(|shared| shared.get(sent.checked_sub(len)?..))
        {
            *sent += leg.send(rest, after)?;
        }
        Ok(*sent - before)
    }

    /// Returns whether all bytes were sent.
    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.bytes.len() + self.shared.as_deref().map_or(0, <[u8]>::len)
    }

    /// Returns all bytes that the buffer was created with, including those already sent.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes.into()
    }
}

/// Returns what follows the bytes that precede `shared`.
fn before_shared(shared: Option<&[u8]>, after: AfterSend) -> AfterSend {
    if shared.is_some_and(|shared| !shared.is_empty()) { AfterSend::MoreBytes } else { after }
}
