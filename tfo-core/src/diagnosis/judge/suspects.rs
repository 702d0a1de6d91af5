//! Narrowing by exclusion: which of the causes that look the same to one side does the other side's
//! evidence leave?

use super::facts::{CookieChange, Facts, Support, View, overwritten};
use crate::diagnosis::Cause;
use crate::socket::SynRecord;

/// Why a cookie request brings no cookie, in the order in which one hides the next.
const NO_COOKIE: &[Cause] = &[
    Cause::ServerSyncookies,
    Cause::OptionStripped,
    Cause::ServerDisabled,
    Cause::ServerWithoutCookies,
    Cause::QueueFull,
    Cause::SynAckOptionStripped,
];

/// Why a SYN's data is not acknowledged, in the order in which one hides the next.
const DATA_NOT_ACKED: &[Cause] = &[
    Cause::ServerSyncookies,
    Cause::OptionStripped,
    Cause::SynDataStripped,
    Cause::CookieCorrupted,
    Cause::ServerDisabled,
    Cause::QueueFull,
    Cause::AddressTranslated,
    Cause::KeyMismatch,
];

/// Those of them that refuse a cookie which the server has looked at.
const REFUSED_COOKIE: &[Cause] = &[Cause::AddressTranslated, Cause::KeyMismatch];

/// What is left of some suspects.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Remaining {
    /// Only this one can have been it.
    One(Cause),
    /// This one, or something that has no word.
    OneOr(Cause),
    /// Several can.
    Several(Vec<Cause>),
    /// The evidence excludes them all.
    Nobody,
}

/// Who can have withheld the cookie that the client asked for.
pub(super) fn of_no_cookie(facts: &Facts<'_>) -> Remaining {
    narrow(NO_COOKIE, facts.view() == View::Client, |cause| withheld_cookie(facts, cause))
}

/// Why the data of the client's SYN was not acknowledged.
pub(super) fn of_data_not_acked(facts: &Facts<'_>) -> Remaining {
    // A client that sends no cookie to a server that wants one has no word of its own.
    let complete = match facts.client {
        Some(_) => facts.client_without_cookie() != Some(true),
        None => facts.arrived_cookie().is_some(),
    };
    let new_cookie = facts.cookie_change() == CookieChange::Changed;
    narrow(DATA_NOT_ACKED, complete, |cause| match refused_data(facts, cause) {
        // Only a server that looked at a cookie and refused it sends a new one along.
        Support::Possible if new_cookie && !REFUSED_COOKIE.contains(&cause) => Support::Excluded,
        fit => fit,
    })
}

/// The first proven suspect, else all that are possible. A lone one that is not proven is guilty
/// only if the list is complete.
fn narrow(suspects: &[Cause], complete: bool, fit: impl Fn(Cause) -> Support) -> Remaining {
    if let Some(&proven) = suspects.iter().find(|&&cause| fit(cause) == Support::Proven) {
        return Remaining::One(proven);
    }
    let possible: Vec<_> =
        suspects.iter().copied().filter(|&cause| fit(cause) == Support::Possible).collect();
    match possible[..] {
        [] => Remaining::Nobody,
        [only] if complete => Remaining::One(only),
        [only] => Remaining::OneOr(only),
        _ => Remaining::Several(possible),
    }
}

/// How well a cause explains that a request brought no cookie.
fn withheld_cookie(facts: &Facts<'_>, cause: Cause) -> Support {
    match cause {
        Cause::ServerSyncookies => syncookies(facts),
        Cause::OptionStripped => match syn(facts) {
            Some(SynRecord::Saved(syn)) => Some(syn.fast_open.is_none()).into(),
            Some(SynRecord::SynCookie) => Support::Excluded,
            Some(SynRecord::NotSaved) | None => unless(facts.counted(|n| n.cookie_reqd)),
        },
        Cause::ServerDisabled => disabled(facts),
        Cause::ServerWithoutCookies => without_cookies(facts),
        // Where nobody counted for this connection, a look at the counter from time to time decides.
        Cause::QueueFull => match (queue_full(facts), facts.server_overflowed()) {
            (Support::Possible, Some(false)) => Support::Excluded,
            (fit, _) => fit,
        },
        // Nothing that the server sees proves it: it is what remains. Not the server's to say.
        Cause::SynAckOptionStripped if facts.view() == View::Client => Support::Possible,
        _ => Support::Excluded,
    }
}

/// How well a cause explains that a SYN's data was not acknowledged.
fn refused_data(facts: &Facts<'_>, cause: Cause) -> Support {
    match cause {
        Cause::ServerSyncookies => syncookies(facts),
        Cause::OptionStripped => match syn(facts) {
            _ if facts.client_without_cookie() == Some(true)
                && !facts.arrived().is_some_and(overwritten) =>
            {
                Support::Excluded
            }
            Some(SynRecord::Saved(syn)) if syn.fast_open.is_some() => Support::Excluded,
            // Without the client's half a SYN with data and no option may have left like that.
            Some(SynRecord::Saved(syn)) => (overwritten(syn)
                || facts.client_without_cookie() == Some(false))
            .then_some(true)
            .into(),
            Some(SynRecord::SynCookie) => Support::Excluded,
            Some(SynRecord::NotSaved) | None => unless(facts.counted(|n| n.passive_fail)),
        },
        Cause::SynDataStripped => match syn(facts) {
            Some(SynRecord::Saved(syn)) => {
                Some(facts.in_syn() > 0 && syn.payload_bytes == 0).into()
            }
            Some(SynRecord::SynCookie) => Support::Excluded,
            // A valid cookie makes a child, with or without data.
            Some(SynRecord::NotSaved) if has_child(facts) => Support::Proven,
            Some(SynRecord::NotSaved) | None => facts.counted(|n| n.passive).into(),
        },
        Cause::CookieCorrupted => corrupted(facts),
        Cause::ServerDisabled => disabled(facts),
        Cause::QueueFull => queue_full(facts),
        Cause::AddressTranslated => match (rejected(facts), facts.translated()) {
            (Support::Excluded, _) | (_, Some(false)) => Support::Excluded,
            (Support::Proven, Some(true)) => Support::Proven,
            _ => Support::Possible,
        },
        Cause::KeyMismatch => match (rejected(facts), facts.translated()) {
            (Support::Excluded, _) => Support::Excluded,
            (Support::Proven, Some(false)) => sent_as_arrived(facts),
            _ => Support::Possible,
        },
        _ => Support::Excluded,
    }
}

/// Whether the server refused the cookie: it counts that, and sends another one along.
pub(super) fn rejected(facts: &Facts<'_>) -> Support {
    let arrived = facts.arrived_cookie();
    if facts.arrived().is_some() && arrived.is_none_or(|cookie| cookie.is_empty()) {
        return Support::Excluded;
    }
    match (facts.counted(|n| n.passive_fail), facts.cookie_change()) {
        (Some(true), _) | (None, CookieChange::Changed) => Support::Proven,
        (None, CookieChange::Unknown) => Support::Possible,
        (Some(false), _)
        | (None, CookieChange::Same | CookieChange::StillNone | CookieChange::New) => {
            Support::Excluded
        }
    }
}

/// Whether the cookie arrived changed. The server's answer then repeats the right one, so the
/// client's cache does not change.
fn corrupted(facts: &Facts<'_>) -> Support {
    if let (Some(arrived), Some(sent)) = (facts.arrived_cookie(), facts.cookie_before()) {
        return Some(arrived != sent).into();
    }
    match facts.arrived() {
        Some(syn) if syn.fast_open.is_none() => return Support::Excluded,
        // A SYN with data holds a cookie or no option: a request in its place was not sent.
        Some(syn)
            if facts.arrived_cookie().is_some_and(|cookie| cookie.is_empty())
                && syn.payload_bytes > 0 =>
        {
            return Support::Proven;
        }
        _ => {}
    }
    if facts.client_without_cookie() == Some(true) || facts.cookie_change() == CookieChange::Changed
    {
        return Support::Excluded;
    }
    only_if(facts.counted(|n| n.passive_fail))
}

/// A refused cookie that is known to have arrived unchanged was made with another key.
fn sent_as_arrived(facts: &Facts<'_>) -> Support {
    match (facts.arrived_cookie(), facts.cookie_before(), facts.cookie_change()) {
        (Some(_), Some(_), _) | (_, _, CookieChange::Changed) => Support::Proven,
        _ => Support::Possible,
    }
}

fn syncookies(facts: &Facts<'_>) -> Support {
    match syn(facts) {
        Some(SynRecord::SynCookie) => Support::Proven,
        Some(SynRecord::Saved(_)) => Support::Excluded,
        Some(SynRecord::NotSaved) => {
            let parsed = [
                facts.counted(|n| n.cookie_reqd),
                facts.counted(|n| n.passive_fail),
                facts.counted(|n| n.listen_overflow),
            ];
            match facts.server_host().map(|host| host.syncookies) {
                _ if parsed.contains(&Some(true)) || has_child(facts) => Support::Excluded,
                Some(0) => Support::Excluded,
                // 2: always. 1: only while the queue of SYNs is full.
                Some(2) => Support::Proven,
                _ => Support::Possible,
            }
        }
        None => Support::Possible,
    }
}

fn disabled(facts: &Facts<'_>) -> Support {
    let refused = [facts.counted(|n| n.passive_fail), facts.counted(|n| n.listen_overflow)];
    if has_child(facts) || refused.contains(&Some(true)) {
        return Support::Excluded;
    }
    facts.server_enabled().map(|enabled| !enabled).into()
}

/// A server that takes data without cookies makes a child of a mere request.
fn without_cookies(facts: &Facts<'_>) -> Support {
    if has_child(facts) {
        return Support::Proven;
    }
    if facts.server_host().is_some_and(|host| host.sets_child_bit) {
        return Support::Excluded;
    }
    match (facts.server_enabled(), facts.server_host()) {
        (Some(false), _) => Support::Excluded,
        // A full queue goes first.
        (Some(true), Some(host)) if host.tcp_fastopen.server_no_cookie() => {
            only_unless(facts.counted(|n| n.listen_overflow))
        }
        _ => facts.counted(|n| n.passive).into(),
    }
}

fn queue_full(facts: &Facts<'_>) -> Support {
    if has_child(facts) || facts.server_enabled() == Some(false) {
        return Support::Excluded;
    }
    facts.counted(|n| n.listen_overflow).into()
}

fn has_child(facts: &Facts<'_>) -> bool {
    facts.server.is_some_and(|server| server.tcp.tfo_child || server.tcp.syn_data)
}

fn syn<'a>(facts: &Facts<'a>) -> Option<&'a SynRecord> {
    facts.server.map(|server| &server.syn)
}

/// Possible, unless this is known to be so.
fn unless(known: Option<bool>) -> Support {
    if known == Some(true) { Support::Excluded } else { Support::Possible }
}

/// Possible, unless this is known not to be so.
fn only_if(known: Option<bool>) -> Support {
    if known == Some(false) { Support::Excluded } else { Support::Possible }
}

/// Proven, unless this is or may be so.
fn only_unless(known: Option<bool>) -> Support {
    match known {
        Some(true) => Support::Excluded,
        Some(false) => Support::Proven,
        None => Support::Possible,
    }
}
