//! What a socket does not take at once.

use std::io;
use std::sync::Arc;

use super::leg::{Leg, Then};
use crate::service::Out;

/// What could not be sent yet. Nothing, which is usual, costs no allocation.
#[derive(Default)]
pub(super) struct Pending {
    bytes: Box<[u8]>,
    shared: Option<Arc<[u8]>>,
    /// Of both.
    sent: usize,
}

impl Pending {
    /// Sends `out`: how much has left, and what has not.
    pub(super) fn send(leg: &Leg, out: &Out, then: Then) -> io::Result<(usize, Self)> {
        let Out { bytes, shared } = out;
        let len = bytes.len();
        let mut sent = leg.send(bytes, before_shared(shared.as_deref(), then))?;
        if let Some(shared) = shared.as_deref().filter(|_| sent == len) {
            sent += leg.send(shared, then)?;
        }
        if sent == len + shared.as_deref().map_or(0, <[u8]>::len) {
            return Ok((sent, Self::default()));
        }
        let left = sent.min(len);
        let bytes = bytes.get(left..).unwrap_or_default().into();
        Ok((sent, Self { bytes, shared: shared.clone(), sent: sent - left }))
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
        let progress = *sent - before;
        if *sent == len + shared.as_deref().map_or(0, <[u8]>::len) {
            *self = Self::default();
        }
        Ok(progress)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.shared.is_none()
    }
}

/// What follows the bytes in front of `shared`.
fn before_shared(shared: Option<&[u8]>, then: Then) -> Then {
    if shared.is_some_and(|shared| !shared.is_empty()) { Then::Bytes } else { then }
}
