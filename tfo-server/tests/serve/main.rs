//! Tests of the built program in service, in network namespaces.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod check;
mod clients;
mod descriptors;
mod forward;
mod forward_path;
mod http;
mod http_rules;
mod keys;
mod limits;
mod metrics;
mod mirror;
mod peers;
mod proxy_protocol;
mod replay;
mod respond;
mod round_trip;
mod services;
mod signals;
mod start;
#[path = "../support/mod.rs"]
mod support;
mod top;
mod trace;
mod upstream;
