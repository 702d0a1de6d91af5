//! Code 0 and no data acknowledged: fast open is paused, there was nothing to send, or the kernel has
//! no codes.

use super::client::{data_not_acked, granted, syn_with_data_repeated};
use super::commands;
use super::facts::{CookieChange, Facts};
use super::finding::bytes;
use super::{Blame, Cause, Outcome, Ruling, View};
use crate::diagnosis::{ClientEvidence, TcpBits, Verdict};
use crate::host::FastOpenBits;
use crate::socket::Attempt;
use crate::socket::TcpState;

pub(super) fn judge(facts: &Facts<'_>, client: &ClientEvidence, tcp: Option<TcpBits>) -> Verdict {
    let Some(tcp) = tcp.filter(|tcp| tcp.state != TcpState::SynSent) else {
        return untold(facts, client);
    };
    if client.message_bytes == 0 {
        return Ruling::new(
            Outcome::NotAttempted,
            "The message is empty: the SYN had no data to carry",
        )
        .verdict(format!("Send something: {}.", commands::probe(facts, 3)));
    }
    if let Attempt::InSyn(sent) = client.attempt
        && sent > 0
    {
        // A kernel without codes: the answer came, and the data was not acknowledged by the SYN-ACK.
        return if facts.syn_repeated() && tcp.total_retrans > 1 {
            syn_with_data_repeated(facts, client)
        } else {
            data_not_acked(facts, client)
        };
    }
    let began = client.counters.is_some_and(|change| change.blackhole > 0);
    if began || facts.cookie_before().is_some() {
        return paused(client, began);
    }
    match facts.cookie_change() {
        CookieChange::New => granted(facts, client, true),
        CookieChange::StillNone => maybe_paused(facts, client),
        _ => untold(facts, client),
    }
}

fn paused(client: &ClientEvidence, began: bool) -> Verdict {
    let sign = if began {
        "TCPFastOpenBlackhole rose"
    } else {
        "the SYN left without the cookie that is cached"
    };
    Ruling::new(
        Outcome::NotAttempted,
        format!(
            "This host's kernel has paused fast open to all destinations after a suspected blackhole: \
             {sign}, and the {} left after the handshake",
            bytes(client.message_bytes)
        ),
    )
    .cause(Cause::PausedByBlackhole, View::Client)
    .verdict(
        "End the pause by writing the setting, 0 also switches the detection off: \
         `sudo sysctl -w net.ipv4.tcp_fastopen_blackhole_timeout_sec=0`; then find the path on which a \
         SYN with data is the last thing heard.",
    )
}

fn maybe_paused(facts: &Facts<'_>, client: &ClientEvidence) -> Verdict {
    Ruling::new(
        Outcome::Fallback,
        format!(
            "The {} left after the handshake with no cookie cached before or after, and the kernel \
             gives no code for it",
            bytes(client.message_bytes)
        ),
    )
    .candidates(&[Cause::NoCookieReturned, Cause::PausedByBlackhole], View::Client)
    .verdict(format!(
        "To settle it, see whether the pause is in use: \
         `sysctl net.ipv4.tcp_fastopen_blackhole_timeout_sec; nstat -az TcpExtTCPFastOpenBlackhole`, and \
         repeat: {}.",
        commands::probe(facts, 3)
    ))
}

/// There is no `TCP_INFO` of the time after the handshake.
fn untold(facts: &Facts<'_>, client: &ClientEvidence) -> Verdict {
    let sent = match client.attempt {
        Attempt::InSyn(sent) => format!("The SYN took {}", bytes(sent)),
        _ => format!("The {} left after the handshake", bytes(client.message_bytes)),
    };
    let without = client.tcp_fastopen.map(FastOpenBits::bits);
    let setting =
        without.map(|bits| format!(" (net.ipv4.tcp_fastopen={bits})")).unwrap_or_default();
    Ruling::new(
        Outcome::Fallback,
        format!(
            "{sent}{setting}, but what the kernel says of the time after the handshake does not tell \
             what became of fast open"
        ),
    )
    .blame(Blame::Unknown)
    .verdict(format!(
        "Read TCP_INFO at the first byte of the answer, not before, as here: {}.",
        commands::probe(facts, 3)
    ))
}
