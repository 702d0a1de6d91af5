//! Sockets with TCP Fast Open.
//!
//! ```no_run
//! use std::io::Read;
//! use tfo_core::socket::FastOpenStream;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut stream = FastOpenStream::connect("192.0.2.1:2222", b"hello\n")?;
//! let mut answer = String::new();
//! stream.read_to_string(&mut answer)?;
//! println!("one round trip saved: {}", stream.info()?.syn_data);
//! # Ok(())
//! # }
//! ```

mod arrival;
mod attempt;
pub(crate) mod connector;
#[cfg(feature = "tokio")]
mod deferred;
mod listener;
mod listener_builder;
pub mod option;
mod pipe;
mod saved_syn;
mod stream;
mod syn;
mod tcp_bits;
mod tcp_info;

pub use arrival::{Accepted, Arrival};
pub use attempt::Attempt;
pub use connector::{ConnectError, Connector, Method};
#[cfg(feature = "tokio")]
pub(crate) use deferred::send_first;
pub use listener::FastOpenListener;
pub use listener_builder::ListenerBuilder;
pub use pipe::Pipe;
pub use saved_syn::SavedSyn;
pub use stream::FastOpenStream;
pub use syn::{OptionKinds, SynRecord, SynSummary};
pub use tcp_bits::TcpBits;
pub use tcp_info::{ClientFail, TcpInfo, TcpState};

pub use crate::wire::{FastOpenKind, FastOpenOption};
