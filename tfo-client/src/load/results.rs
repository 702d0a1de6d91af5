//! The results of a run, and whether its limits are met.

use std::net::SocketAddr;
use std::process::ExitCode;

use super::connection_error::ConnectionError;
use super::plan::Plan;
use super::settings::LoadSettings;
use super::tally::Tally;
use crate::output::NO_CONNECTION;

/// Exit status if one of the user's limits is not met.
const LIMIT_NOT_MET: u8 = 1;

/// The results of a run.
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
            LIMIT_NOT_MET
        } else {
            0
        })
    }
}

/// Returns advice for errors that have, or may have, their cause on this host.
pub(super) fn advice(error: ConnectionError, server: SocketAddr) -> Option<String> {
    let fixed = match error {
        ConnectionError::PortsExhausted => Some(
            "this host has no free port left for the server: use more source addresses \
             (`--source ADDR,ADDR`), close with `--reset`, or widen net.ipv4.ip_local_port_range",
        ),
        ConnectionError::TooManyFiles => Some(
            "this process can't open more files: raise the limit (`ulimit -n 100000`), or lower \
             `--concurrency`",
        ),
        ConnectionError::Refused => {
            return Some(format!(
                "no server listens there, or a middlebox resets SYNs with data: \
                 `tfo-client -s {server} -n 3` shows which"
            ));
        }
        ConnectionError::TimedOut => Some(
            "the reply was not complete in time. Check that the server answers this request and then \
             closes. `--no-reply` does not wait for a reply, `--expect-bytes` does not wait for the close, \
             `--reply-timeout` sets a longer time",
        ),
        ConnectionError::Reset
        | ConnectionError::Unreachable
        | ConnectionError::ClosedEarly
        | ConnectionError::WrongReply
        | ConnectionError::Other => None,
    };
    fixed.map(str::to_owned)
}
