//! Reads the PROXY protocol header that precedes the client's bytes.
//!
//! Bytes are collected across turns until the header is complete; `service::proxy_protocol` parses them. Bytes that
//! followed the header in the same read go to the service ([`ProxyHeader::take_rest`]).
//!
//! Invariants:
//!
//! 1. No byte reaches the service before the header is complete. Malformed bytes end the connection.
//! 2. At most [`MAX_HEADER`] bytes are held, header and following bytes together.
//! 3. Extensions are kept only if the upstream receives them.

use std::io;
use std::mem;

use super::leg::Leg;
use super::turn::InputBuffer;
use crate::service::proxy_protocol::{
    self, Extensions, MAX_HEADER, ParseProgress, ProxiedAddresses,
};

/// The header of one connection: the bytes so far, then the parsed header.
#[derive(Default)]
pub(super) struct ProxyHeader {
    /// The header so far, and the bytes that followed it.
    bytes: Vec<u8>,
    /// Length of the header; 0 until it is complete.
    len: usize,
    /// `None`: the header names no addresses; those of the connection apply.
    pub(super) addresses: Option<ProxiedAddresses>,
    /// The extensions for the upstream, if it receives them.
    extensions: Option<Box<[u8]>>,
}

/// The result of reading from the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderProgress {
    Complete,
    /// More bytes are needed.
    Partial,
    /// The peer closed without sending a byte, as port checks do.
    Closed,
}

impl ProxyHeader {
    /// Reads until the header is complete. Malformed bytes are an error of kind `InvalidData`.
    ///
    /// `keeps_extensions`: whether the upstream gets the extensions.
    pub(super) fn read(
        &mut self,
        leg: &Leg,
        input: &mut InputBuffer,
        keeps_extensions: bool,
    ) -> io::Result<HeaderProgress> {
        loop {
            // Reads no more than a header may need: bytes beyond it must be held.
            let mut read = input.lend(MAX_HEADER - self.bytes.len());
            match read.read(|memory| leg.read(memory)) {
                Ok(0) if self.bytes.is_empty() => return Ok(HeaderProgress::Closed),
                Ok(0) => return Err(malformed("incomplete")),
                Ok(_) => self.bytes.extend_from_slice(read.bytes()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(HeaderProgress::Partial);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            }
            match proxy_protocol::parse(&self.bytes) {
                ParseProgress::Partial => {}
                ParseProgress::Malformed(why) => return Err(malformed(why)),
                ParseProgress::Header(addresses, Extensions(extensions), len) => {
                    self.len = len;
                    self.addresses = addresses;
                    self.extensions = Some(extensions)
                        .filter(|bytes| keeps_extensions && !bytes.is_empty())
                        .map(Into::into);
                    return Ok(HeaderProgress::Complete);
                }
            }
        }
    }

    /// Takes the bytes that followed the header.
    pub(super) fn take_rest(&mut self) -> Vec<u8> {
        let mut bytes = mem::take(&mut self.bytes);
        bytes.drain(..self.len);
        bytes
    }

    pub(super) fn extensions(&self) -> Extensions<'_> {
        Extensions(self.extensions.as_deref().unwrap_or_default())
    }
}

fn malformed(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("PROXY header: {why}"))
}
