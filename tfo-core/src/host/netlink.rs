//! Requests to the kernel over netlink, and their answers.

use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use crate::sys::netlink::NetlinkSocket;
use crate::wire::netlink::{Answer, Message, Outcome, Request};
use crate::{Error, Result};

/// The kernel answers at once; the limit only keeps a program from hanging.
const LIMIT: Duration = Duration::from_secs(5);

/// A netlink socket, and the sequence number of its last request.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: NetlinkSocket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace. The socket stays in that namespace.
    pub(crate) fn open(protocol: i32) -> Result<Self> {
        let socket = NetlinkSocket::open(protocol)
            .map_err(|e| Error::system("open", "netlink socket", e))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends the request that `build` makes for a sequence number, and passes on the messages of the answer.
    /// `operation` and `object` name the request in errors.
    pub(crate) fn request(
        &mut self,
        operation: &'static str,
        object: &str,
        build: impl FnOnce(u32) -> Request,
        mut on_message: impl FnMut(&Message<'_>) -> Result<()>,
    ) -> Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let message = build(self.sequence).finish()?;
        let mut answer = Answer::new(self.sequence);
        let outcome = self
            .socket
            .request(&message, LIMIT, |datagram| match answer.take(datagram, &mut on_message) {
                Ok(ControlFlow::Continue(())) => ControlFlow::Continue(()),
                Ok(ControlFlow::Break(outcome)) => ControlFlow::Break(Ok(outcome)),
                Err(error) => ControlFlow::Break(Err(error)),
            })
            .map_err(|e| Error::system(operation, object, e))??;
        let error = match outcome {
            Outcome::Done => return Ok(()),
            Outcome::Refused(errno) => io::Error::from_raw_os_error(errno),
            Outcome::Interrupted => io::ErrorKind::Interrupted.into(),
        };
        Err(Error::system(operation, object, error))
    }
}
