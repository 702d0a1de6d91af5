//! What a socket does not take at once.

use std::io::{self, Write};
use std::sync::Arc;

use tfo_core::socket::FastOpenStream;

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
    /// Sends `out`: how much has left, and what has not. `more`: the last segment is to wait for the FIN.
    pub(super) fn send(
        stream: &FastOpenStream,
        out: &mut Out,
        more: bool,
    ) -> io::Result<(usize, Self)> {
        let shared = out.shared.take();
        let len = out.bytes.len();
        let mut sent = send_all(stream, &out.bytes, more || shared.is_some())?;
        if let Some(shared) = shared.as_deref().filter(|_| sent == len) {
            sent += send_all(stream, shared, more)?;
        }
        if sent == len + shared.as_deref().map_or(0, <[u8]>::len) {
            return Ok((sent, Self::default()));
        }
        let left = sent.min(len);
        let bytes = out.bytes.get(left..).unwrap_or_default().into();
        Ok((sent, Self { bytes, shared, sent: sent - left }))
    }

    /// Sends more of it: how much.
    pub(super) fn flush(&mut self, stream: &FastOpenStream, more: bool) -> io::Result<usize> {
        let Self { bytes, shared, sent } = self;
        let (before, len) = (*sent, bytes.len());
        if let Some(rest) = bytes.get(*sent..).filter(|rest| !rest.is_empty()) {
            *sent += send_all(stream, rest, more || shared.is_some())?;
        }
        if let Some(rest) =
            shared.as_deref().and_then(|shared| shared.get(sent.checked_sub(len)?..))
        {
            *sent += send_all(stream, rest, more)?;
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

/// How much of `bytes` the socket takes now.
pub(super) fn send_all(mut stream: &FastOpenStream, bytes: &[u8], more: bool) -> io::Result<usize> {
    let mut sent = 0;
    while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
        match if more { stream.write_more(rest) } else { stream.write(rest) } {
            Ok(len) => sent += len,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(sent)
}
