//! What a socket does not take at once.

use std::io;
use std::sync::Arc;

use super::leg::{Leg, Then};
use crate::service::Out;

/// What could not be sent yet.
pub(super) struct Pending {
    bytes: Box<[u8]>,
    shared: Option<Arc<[u8]>>,
    /// Of both.
    sent: usize,
}

impl Pending {
    /// Sends `out`: how much has left, and what has not. Usually nothing is left, which costs no allocation.
    pub(super) fn send(leg: &Leg, out: &Out, then: Then) -> io::Result<(usize, Option<Self>)> {
        let Out { bytes, shared } = out;
        let len = bytes.len();
        let mut sent = leg.send(bytes, before_shared(shared.as_deref(), then))?;
        if let Some(shared) = shared.as_deref().filter(|_| sent == len) {
            sent += leg.send(shared, then)?;
        }
        if sent == len + shared.as_deref().map_or(0, <[u8]>::len) {
            return Ok((sent, None));
        }
        let left = sent.min(len);
        let bytes = bytes.get(left..).unwrap_or_default().into();
        Ok((sent, Some(Self { bytes, shared: shared.clone(), sent: sent - left })))
    }

    /// Sends more of it: how much.
    pub(super) fn flush(&mut self, leg: &Leg, then: Then) -> io::Result<usize> {
        let Self { bytes, shared, sent } = self;
        let (before, len) = (*sent, bytes.len());
        if let Some(rest) = bytes.get(*sent..).filter(|rest| !rest.is_empty()) {
            *sent += leg.send(rest, before_shared(shared.as_deref(), then))?;
        }
        if let Some(rest) =
            shared.as_deref().and_then(|shared| shared.get(sent.checked_sub(len)?..))
        {
            *sent += leg.send(rest, then)?;
        }
        Ok(*sent - before)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.bytes.len() + self.shared.as_deref().map_or(0, <[u8]>::len)
    }
}

/// What follows the bytes in front of `shared`.
fn before_shared(shared: Option<&[u8]>, then: Then) -> Then {
    if shared.is_some_and(|shared| !shared.is_empty()) { Then::Bytes } else { then }
}
