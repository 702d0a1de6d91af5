//! The built program serving, on hosts of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[cfg(test)]
mod check;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod descriptors;
#[cfg(test)]
mod forward;
#[cfg(test)]
mod forward_path;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod http;
#[cfg(test)]
mod http_rules;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod mirror;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod proxy_protocol;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod respond;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod services;
#[cfg(test)]
mod signals;
#[cfg(test)]
mod start;
#[cfg(test)]
mod top;
#[cfg(test)]
mod trace;
#[cfg(test)]
mod upstream;
