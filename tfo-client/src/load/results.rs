//! What a run amounts to, and whether the limits are met.

use std::net::SocketAddr;
use std::process::ExitCode;

use super::connection_error::ConnectionError;
use super::plan::Plan;
use super::settings::LoadSettings;
use super::tally::Tally;
use crate::output::NO_CONNECTION;

/// Exit status: a limit of the user's is broken.
const BROKEN: u8 = 1;

/// A run that has ended.
pub(super) struct Results<'a> {
    pub(super) host: &'a str,
    pub(super) address: SocketAddr,
    pub(super) settings: &'a LoadSettings,
    pub(super) plan: &'a Plan,
    pub(super) total: &'a Tally,
    /// Whether `--fail-under` is met; `None` without it.
    pub(super) rate_met: Option<bool>,
    /// Whether `--max-p99` is met; `None` without it.
    pub(super) p99_met: Option<bool>,
}

impl<'a> Results<'a> {
    pub(super) fn new(
        host: &'a str,
        settings: &'a LoadSettings,
        plan: &'a Plan,
        total: &'a Tally,
    ) -> Self {
        let rate = total.rate();
        Self {
            host,
            address: plan.server,
            settings,
            plan,
            total,
            rate_met: settings.fail_under.map(|least| rate >= f64::from(least)),
            p99_met: settings.max_p99.map(|most| total.p99().is_some_and(|p99| p99 <= most)),
        }
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(if self.total.replies() == 0 {
            NO_CONNECTION
        } else if self.rate_met == Some(false) || self.p99_met == Some(false) {
            BROKEN
        } else {
            0
        })
    }
}

/// What helps against errors that are this host's own, or look like it.
pub(super) fn advice(error: ConnectionError, server: SocketAddr) -> Option<String> {
    let fixed = match error {
        ConnectionError::PortsExhausted => Some(
            "this host has no free port left towards the server: give more source addresses \
             (`--source ADDR,ADDR`), close with `--reset`, or widen net.ipv4.ip_local_port_range",
        ),
        ConnectionError::TooManyFiles => Some(
            "this process may not open more files: raise the limit (`ulimit -n 100000`), or lower \
             `--concurrency`",
        ),
        ConnectionError::Refused => {
            return Some(format!(
                "nobody listens there, or a box resets SYNs with data: `tfo-client -s {server} -n 3` \
                 tells which"
            ));
        }
        ConnectionError::TimedOut => Some(
            "the reply was not complete in time: does the server answer this request, and close? \
             `--no-reply` waits for none, `--expect-bytes` for no close, `--timeout` longer",
        ),
        ConnectionError::Reset
        | ConnectionError::Unreachable
        | ConnectionError::ClosedEarly
        | ConnectionError::WrongReply
        | ConnectionError::Other => None,
    };
    fixed.map(str::to_owned)
}
