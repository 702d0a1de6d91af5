//! Connects with fast open where the path allows it, and never slower than without.
//!
//! ```no_run
//! use std::io::Read;
//! use tfo_core::dialer::{Dialer, Message};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Keep it: it learns which paths break fast open.
//! let dialer = Dialer::new();
//! let request = Message::idempotent(b"GET / HTTP/1.0\r\n\r\n");
//! let mut stream = dialer.dial("example.org:80", request)?;
//! let mut answer = Vec::new();
//! stream.read_to_end(&mut answer)?;
//! # Ok(())
//! # }
//! ```
//!
//! What can make fast open slower than a regular connection, and what a [`Dialer`] does about it:
//!
//! | trouble | without a dialer | with one |
//! | --- | --- | --- |
//! | the path drops SYNs with data, or with the option | a second, for each connection, for ever | a regular SYN follows a little over one round trip later; the next connections are regular |
//! | the path resets SYNs with data | each connection fails | a regular connection follows at once; the next ones are regular |
//! | the path lets the SYN pass, and nothing after it | each connection waits until it times out | as if the SYN was dropped |
//! | the path or the server ignores the data | nothing | after three in a row the next connections are regular |
//! | the first of several addresses does not answer | its whole timeout | the next address follows after 250 ms ([RFC 8305]) |
//!
//! [RFC 8305]: https://www.rfc-editor.org/rfc/rfc8305

mod dial;
mod error;
mod memory;
mod message;
mod order;
mod pause;
mod plan;
mod race;
mod witness;

pub use dial::Dialer;
pub use error::DialError;
pub use memory::{Destination, FastOpenPermit, PathMemory, RememberedPath};
pub use message::Message;
pub use plan::Policy;
pub(crate) use witness::Witness;
