//! Both built programs on separate hosts: `tfo-client` probes `tfo-server` and other servers.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[cfg(test)]
mod balance;
#[cfg(test)]
mod causes;
#[cfg(test)]
mod cookies;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod fresh;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod hosts;
#[cfg(test)]
mod listen;
mod local;
#[cfg(test)]
mod message;
#[cfg(test)]
mod nginx;
#[cfg(test)]
mod output;
#[cfg(test)]
mod path;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod target;
#[cfg(test)]
mod trace;
#[cfg(test)]
mod versions;
