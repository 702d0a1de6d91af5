//! The dialer: its settings, and the call that connects.

use std::io;
use std::net::ToSocketAddrs;
use std::time::{Duration, Instant};

use super::plan::{Plan, Policy};
use super::race::Race;
use super::{DialError, Message, PathMemory, order};
use crate::error::Error;
use crate::socket::{Connector, FastOpenStream};

/// Makes connections that use fast open where the path allows it. The [module](super) explains what it does.
///
/// Keep one dialer, and share it between threads: it remembers which paths break fast open.
///
/// ```no_run
/// use std::time::Duration;
/// use tfo_core::dialer::{Dialer, Message};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let dialer = Dialer::new().timeout(Duration::from_secs(5));
/// match dialer.dial("192.0.2.1:80", Message::once(b"PUT /1 HTTP/1.1\r\n\r\n").allow_in_syn()) {
///     Ok(stream) => println!("connected to {}", stream.peer_addr()?),
///     Err(e) if e.maybe_executed => println!("look whether the server has it: {e}"),
///     Err(e) => println!("the server does not have it: {e}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Dialer {
    plan: Plan,
    timeout: Option<Duration>,
}

impl Dialer {
    /// Creates a dialer that tries fast open, with a memory of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets when fast open is used. Default: [`Policy::Try`].
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.plan.policy = policy;
        self
    }

    /// Sets the memory, to share it with other dialers, or to load it from a file. Default: one of this dialer's own, which
    /// its clones share.
    #[must_use]
    pub fn memory(mut self, memory: &PathMemory) -> Self {
        self.plan.memory = memory.clone();
        self
    }

    /// Returns the memory.
    #[must_use]
    pub fn paths(&self) -> &PathMemory {
        &self.plan.memory
    }

    /// Sets how long a SYN of fast open may stay unanswered before a regular connection is made beside it. Default: 5/4 of
    /// the round trip time that earlier connections had, or that the kernel remembers, plus 10 ms; 250 ms if neither is
    /// known.
    #[must_use]
    pub fn hedge_after(mut self, delay: Duration) -> Self {
        self.plan.hedge = Some(delay);
        self
    }

    /// Sets the maximum time of [`dial`](Self::dial), for all addresses together. The resolution of names does not
    /// count. Default: as long as the kernel tries, about two minutes.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the options of each connection, except its [timeout](Connector::timeout).
    #[must_use]
    pub fn connector(mut self, connector: Connector) -> Self {
        self.plan.connector = connector;
        self
    }

    /// Connects to `server` and sends `message`, as far as [its contract](Message) allows.
    ///
    /// Returns when the handshake has ended and the kernel holds the whole message. Of several addresses, each gets 250 ms
    /// before the next one is tried as well; the first connection wins ([RFC 8305]).
    ///
    /// # Errors
    /// No address connects, the name was not resolved, or the time is over.
    /// [`DialError::maybe_executed`] says whether the message may have been executed all the same.
    ///
    /// [RFC 8305]: https://www.rfc-editor.org/rfc/rfc8305
    pub fn dial(
        &self,
        server: impl ToSocketAddrs,
        message: Message<'_>,
    ) -> Result<FastOpenStream, DialError> {
        let failed = |error| DialError { error, maybe_executed: false };
        let resolve = |e| failed(Error::system("resolve", "the server's address", e));
        let mut addresses = server.to_socket_addrs().map_err(resolve)?;
        let first = addresses.next().ok_or_else(|| resolve(io::ErrorKind::NotFound.into()))?;
        let others = match addresses.next() {
            None => Vec::new(),
            Some(second) => {
                order::in_turn([first, second].into_iter().chain(addresses)).split_off(1)
            }
        };
        let deadline = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Race::new(&self.plan, message, deadline).run(first, others)
    }
}
