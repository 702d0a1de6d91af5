//! The SYN-ACK acknowledged data: all of it, and did that save a round trip?

use std::fmt::Write as _;

use super::facts::{CookieChange, Facts};
use super::finding::bytes;
use super::{Outcome, Ruling, Saved, commands};
use crate::diagnosis::{ClientEvidence, Ending, Verdict};

pub(super) fn judge(facts: &Facts<'_>, client: &ClientEvidence) -> Verdict {
    let (sent, all) = (facts.in_syn(), client.message_bytes);
    let partly = sent > 0 && sent < all;
    let mut finding = if partly {
        format!(
            "{sent} of {all} bytes were sent in the SYN and acknowledged by the SYN-ACK, the other {} after \
             the handshake: an answer to the whole message takes a second round trip",
            all - sent
        )
    } else if sent > 0 {
        format!("The SYN-ACK acknowledged all {} of the SYN", bytes(sent))
    } else {
        "The SYN-ACK acknowledged the data in the SYN".to_owned()
    };
    let (saved, words) = saving(client);
    match saved {
        Some(Saved::RoundTrip) if partly => {
            finding += ", and this one began before: one round trip saved";
        }
        _ if partly => {}
        _ => finding += &words,
    }
    if facts.cookie_sent_or_unknown() {
        if facts.cookie_change() == CookieChange::Changed {
            finding += "; the cookie was of the server's backup key, and a new one came along";
        }
    } else {
        finding += ", without a cookie";
    }
    if let Some((here, there)) = facts.translation() {
        let _ =
            write!(finding, "; the address {here} is translated to {there}, which does no harm");
    }
    let without = match client.result {
        Ending::Closed => Some("the server closed without an answer"),
        Ending::Connected => Some("no answer was waited for"),
        _ => None,
    };
    if let Some(without) = without {
        let _ = write!(finding, "; {without}, so nothing shows whether the service got the data");
    }
    let advice = if partly {
        format!(
            "Nothing to do for fast open; to save the whole round trip keep the first message within \
             {}.",
            bytes(sent)
        )
    } else if !facts.cookie_sent_or_unknown() {
        "Nothing to do; keep in mind that a server that asks for no cookie serves forged SYNs as well."
            .to_owned()
    } else if saved == Some(Saved::Nothing) {
        format!(
            "A lost packet or a busy host makes one answer late; a server that waits for the handshake, as with \
             `early-data = \"await-handshake\"`, each one. Measure what is saved over many connections: {}.",
            commands::compare(client.remote)
        )
    } else {
        "Nothing to do.".to_owned()
    };
    Ruling::new(Outcome::FastOpen, finding)
        .saved(saved)
        .unanswered(without.is_some())
        .verdict(advice)
}

/// What early data has saved, and as the rest of the sentence. That the server took it early does not say that it
/// answered early.
fn saving(client: &ClientEvidence) -> (Option<Saved>, String) {
    let Some((first_byte, tcp)) = client.first_byte_us.zip(client.tcp) else {
        return (None, String::new());
    };
    if tcp.total_retrans > 0 {
        let late = format!(
            ", after {} retransmission(s): the first byte of the answer came after {}, no saving",
            tcp.total_retrans,
            millis(first_byte)
        );
        return (Some(Saved::Nothing), late);
    }
    if client.remote.ip().is_loopback() {
        return (None, " (on loopback there is no round trip to save)".to_owned());
    }
    let rtt = u64::from(tcp.rtt_us);
    if rtt == 0 {
        return (None, String::new());
    }
    if rtt < 1_000 {
        return (None, format!(" (with a round trip of {rtt} µs there is little to save)"));
    }
    if first_byte * 2 < rtt * 3 {
        return (Some(Saved::RoundTrip), ": one round trip saved".to_owned());
    }
    let late = format!(
        ", but the first byte of the answer came after {}, with a round trip of {}: no saving measured",
        millis(first_byte),
        millis(rtt)
    );
    (Some(Saved::Nothing), late)
}

/// "40.1 ms".
#[expect(
    clippy::cast_precision_loss,
    reason = "no time that is waited for has 52 bits of microseconds"
)]
fn millis(micros: u64) -> String {
    format!("{:.1} ms", micros as f64 / 1e3)
}
