//! Hosts with real Linux stacks on one machine: network namespaces of this process.
//!
//! A [`Host`] is a thread in its own network namespace. Nothing is changed on the real host, and everything is
//! removed when the process ends. An ordinary user needs unprivileged user namespaces: see [`isolated`] and
//! [`enter_private_network`].
//!
//! ```no_run
//! use tfo_core::lab::{self, Host};
//!
//! # fn main() -> tfo_core::Result<()> {
//! let (client, server) = (Host::new("client")?, Host::new("server")?);
//! lab::join(&client, &server)?;
//! server.run(|| std::net::TcpListener::bind((lab::SERVER_V4, 2222)).map(drop)).ok();
//! # Ok(())
//! # }
//! ```

mod address;
mod frame;
mod hop;
mod host;
mod icmp;
mod interface;
mod isolated;
mod link;
mod middlebox;
mod network;
mod path;
mod private;
mod program;
#[cfg(test)]
mod random_path_tests;
mod relay;
mod route;

pub use address::{CLIENT_V4, CLIENT_V6, SERVER_V4, SERVER_V6};
pub use hop::{Hop, HopProperty, HopRule, MAX_BRANCHES, MAX_HOPS, hops};
pub use host::Host;
pub use interface::has_ipv6;
pub use isolated::{isolated, require, skip};
pub use link::join;
pub use middlebox::Middlebox;
pub use network::Network;
pub use path::PathSettings;
pub use private::{allow_hosts, enter_private_network, explain_denied};
pub use program::{Finished, Lines, Program};
