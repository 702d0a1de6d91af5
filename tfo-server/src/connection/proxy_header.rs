//! The PROXY protocol header that a connection begins with.

use std::io;
use std::mem;

use super::leg::Leg;
use super::turn::InputBuffer;
use crate::service::proxy_protocol::{
    self, Extensions, MAX_HEADER, ParseProgress, ProxiedAddresses,
};

/// The header of one connection: its bytes until it is complete, then what it says.
#[derive(Default)]
pub(super) struct ProxyHeader {
    /// The header so far, and what came behind it.
    bytes: Vec<u8>,
    /// The length of the header, once it is complete.
    len: usize,
    /// `None`: the connection's own addresses are the true ones.
    pub(super) addresses: Option<ProxiedAddresses>,
    /// For the upstream, where it gets them.
    extensions: Option<Box<[u8]>>,
}

/// What a read of the header led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderProgress {
    Complete,
    /// The rest of it has not come yet.
    Partial,
    /// The peer closed without sending a byte, as a port check does.
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
            // Not more than is needed: what is read beyond it is held.
            let mut read = input.lend(MAX_HEADER - self.bytes.len());
            match read.read(|memory| leg.read(memory)) {
                Ok(0) if self.bytes.is_empty() => return Ok(HeaderProgress::Closed),
                Ok(0) => return Err(malformed("it is not complete")),
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

    /// Takes what came behind the header.
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
