//! No handshake, or no answer: why, as far as a second, regular connection settles it.

use super::commands;
use super::errno::{Errno, Sort};
use super::facts::Facts;
use super::finding::bytes;
use super::{Blame, Cause, Outcome, Ruling, View};
use crate::diagnosis::rules::{Sign, Symptom};
use crate::diagnosis::{ClientEvidence, RegularCheck, Verdict};
use crate::prose::counted;
use crate::socket::{Attempt, ClientFail, TcpState};

/// What a second, regular connection did, compared with the first.
enum Check {
    Connected,
    AlsoFailed,
    Unclear,
}

fn check(client: &ClientEvidence, same: Sort) -> Check {
    match client.regular_check {
        Some(RegularCheck::Connected) => Check::Connected,
        Some(RegularCheck::Failed(errno)) if Errno(errno).sort() == same => Check::AlsoFailed,
        Some(RegularCheck::TimedOut) if same == Sort::TimedOut => Check::AlsoFailed,
        Some(RegularCheck::Failed(_) | RegularCheck::TimedOut) | None => Check::Unclear,
    }
}

/// Connecting ended with an errno.
pub(super) fn not_connected(facts: &Facts<'_>, client: &ClientEvidence, errno: i32) -> Verdict {
    let errno = Errno(errno);
    match errno.sort() {
        Sort::Refused => refused(facts, client, errno),
        Sort::Unreachable => unreachable(facts, client, errno),
        Sort::TimedOut => no_handshake(facts, client),
        Sort::Local => local(facts, client, errno),
        Sort::Other => Ruling::new(
            Outcome::Failed,
            format!("Connecting to {} failed with {errno}", client.remote),
        )
        .blame(Blame::Unknown)
        .verdict(format!(
            "See whether a regular connection works: {}.",
            commands::regular(client.remote)
        )),
    }
}

fn refused(facts: &Facts<'_>, client: &ClientEvidence, errno: Errno) -> Verdict {
    let remote = client.remote;
    let nobody = || {
        Ruling::new(
            Outcome::Failed,
            format!(
                "{remote} refused the connection ({errno}): nobody listens on port {}",
                remote.port()
            ),
        )
        .cause(Cause::Refused, View::Client)
        .verdict(format!(
            "Start the server, or look there at what listens: `tfo-client doctor`; from here: {}.",
            commands::regular(remote)
        ))
    };
    match (facts.in_syn(), check(client, Sort::Refused)) {
        (0, Check::Connected) => Ruling::new(
            Outcome::Failed,
            format!(
                "{remote} refused the connection ({errno}), whose SYN had no data, and took a regular \
                 one afterwards"
            ),
        )
        .blame(Blame::Unknown)
        .verdict(format!("Repeat, the server may just have started: {}.", commands::probe(facts, 3))),
        (0, _) => nobody(),
        (_, Check::AlsoFailed) if !some_passed(client) => nobody(),
        (sent, _) => answered_by_error(facts, client, sent, errno, Cause::Refused),
    }
}

/// Whether another connection of this run passed, with or without data in its SYN.
fn some_passed(client: &ClientEvidence) -> bool {
    client.repetition.is_some_and(|repetition| {
        repetition.passed > 0 || repetition.controls > repetition.controls_alike
    })
}

/// A SYN with data was answered by an error. Only regular connections that pass, as often as it fails, make the
/// data the reason.
fn answered_by_error(
    facts: &Facts<'_>,
    client: &ClientEvidence,
    sent: usize,
    errno: Errno,
    otherwise: Cause,
) -> Verdict {
    match facts.read(Sign::RegularFailsAlike) {
        Some(false) => reset(facts, client, sent, errno),
        Some(true) if some_passed(client) => regular_fails_too(facts, client, sent, errno),
        _ if facts.server.is_some() => reset(facts, client, sent, errno),
        _ => {
            let seen = format!(
                "The SYN with {} to {} was answered by {errno}",
                bytes(sent),
                client.remote
            );
            undecided(facts, client, &seen, &[otherwise, Cause::ResetOnSynData])
        }
    }
}

/// Connections fail now and then, whether or not their SYN has data.
fn regular_fails_too(
    facts: &Facts<'_>,
    client: &ClientEvidence,
    sent: usize,
    errno: Errno,
) -> Verdict {
    let repetition = client.repetition.unwrap_or_default();
    Ruling::new(
        Outcome::Failed,
        format!(
            "The SYN with {} was answered by {errno}, and so were {} of {}: it is not about fast open",
            bytes(sent),
            repetition.controls_alike,
            counted(repetition.controls, "regular connection", "regular connections")
        ),
    )
    .cause(Cause::RegularFailsToo, View::Client)
    .verdict(format!(
        "Several servers may be behind {}, some of which refuse connections; look at the balancer, and repeat: {}.",
        client.remote,
        commands::probe(facts, 10)
    ))
}

fn unreachable(facts: &Facts<'_>, client: &ClientEvidence, errno: Errno) -> Verdict {
    match (facts.in_syn(), check(client, Sort::Unreachable)) {
        (sent @ 1.., Check::Connected | Check::Unclear) => {
            answered_by_error(facts, client, sent, errno, Cause::Unreachable)
        }
        _ => no_route(client, errno),
    }
}

fn no_route(client: &ClientEvidence, errno: Errno) -> Verdict {
    let (remote, host) = (client.remote, commands::host(client.remote));
    Ruling::new(Outcome::Failed, format!("{host} can't be reached: connecting failed with {errno}"))
        .cause(Cause::Unreachable, View::Client)
        .verdict(format!(
            "See which way this host would take, and how far it gets: {} and {}.",
            commands::route(remote),
            commands::path(remote)
        ))
}

/// The kernel let nothing out.
fn local(facts: &Facts<'_>, client: &ClientEvidence, errno: Errno) -> Verdict {
    let ip = client.remote.ip().to_canonical();
    if matches!(check(client, Sort::Local), Check::Connected) {
        return Ruling::new(
            Outcome::Failed,
            format!("This host refused to open a fast open connection to {ip} ({errno}), a regular one works"),
        )
        .blame(Blame::ThisHost)
        .verdict(format!(
            "Look for a rule of this host that matches fast open (a seccomp filter, BPF, the firewall: \
             `sudo nft list ruleset`), then repeat: {}.",
            commands::probe(facts, 3)
        ));
    }
    Ruling::new(
        Outcome::Failed,
        format!("This host did not let a connection to {ip} out ({errno})"),
    )
    .cause(Cause::Unreachable, View::Client)
    .blame(Blame::ThisHost)
    .verdict(format!(
        "Look at this host's interfaces, routes, ports and firewall: `ip addr`, {}, \
             `sysctl net.ipv4.ip_local_port_range` and `sudo nft list ruleset`.",
        commands::route(client.remote)
    ))
}

/// A plain SYN passes, one with data is answered by a reset or an ICMP error.
fn reset(facts: &Facts<'_>, client: &ClientEvidence, sent: usize, errno: Errno) -> Verdict {
    let regular = match client.regular_check {
        Some(RegularCheck::Connected) => ", a regular connection works",
        _ => "",
    };
    let server = match facts.server {
        Some(server) if server.tcp.syn_data => ", although the server took its data",
        Some(_) => ", although the server took the connection",
        None => "",
    };
    Ruling::new(
        Outcome::Failed,
        format!("The SYN with {} was answered by {errno}{server}{regular}", bytes(sent)),
    )
    .cause(Cause::ResetOnSynData, View::Client)
    .verdict(format!(
        "Leave fast open off towards {}, the kernel does not try again by itself; to see whether a box or \
         the server's own firewall (`sudo nft list ruleset`) does it: {}; the server may have got the data, so \
         repeat only what may run twice.",
        client.remote.ip().to_canonical(),
        commands::hops(facts)
    ))
}

/// No handshake in the time given.
pub(super) fn no_handshake(facts: &Facts<'_>, client: &ClientEvidence) -> Verdict {
    let remote = client.remote;
    let sent = facts.in_syn();
    if sent == 0 {
        return timed_out(client, format!("{remote} did not answer the SYN, which had no data"));
    }
    let got = match facts.server {
        Some(server) if server.tcp.syn_data => {
            ", although the server got it and handed the data to its program"
        }
        Some(_) => ", although the server got it",
        None => "",
    };
    let seen = format!("The SYN with {} to {remote} got no answer{got}", bytes(sent));
    match client.regular_check {
        Some(RegularCheck::Connected) if facts.read(Sign::RegularFailsAlike) != Some(false) => {
            undecided(facts, client, &seen, &[Cause::TimedOut, Cause::DeadAfterSynData])
        }
        Some(RegularCheck::Connected) => {
            Ruling::new(Outcome::Failed, format!("{seen}, and regular connections work"))
                .cause(Cause::DeadAfterSynData, View::Client)
                .verdict(format!(
                    "Leave fast open off towards {}; to find the box that goes silent: {}; the server may have got \
                     the data, so repeat only what may run twice.",
                    remote.ip().to_canonical(),
                    commands::hops(facts)
                ))
        }
        Some(RegularCheck::TimedOut) => {
            timed_out(client, format!("{seen}, and neither did a regular one"))
        }
        Some(RegularCheck::Failed(errno)) => by_check(facts, client, &seen, Errno(errno)),
        None => undecided(facts, client, &seen, &[Cause::TimedOut, Cause::DeadAfterSynData]),
    }
}

/// The regular connection failed in another way than the one with data: it says more.
fn by_check(facts: &Facts<'_>, client: &ClientEvidence, seen: &str, errno: Errno) -> Verdict {
    match errno.sort() {
        Sort::Refused => Ruling::new(
            Outcome::Failed,
            format!("{seen}, and a regular connection was refused ({errno})"),
        )
        .cause(Cause::Refused, View::Client)
        .verdict(format!("Start the server, then repeat: {}.", commands::probe(facts, 3))),
        Sort::Unreachable | Sort::Local => no_route(client, errno),
        Sort::TimedOut | Sort::Other => {
            timed_out(client, format!("{seen}, and a regular connection failed with {errno}"))
        }
    }
}

/// The handshake ended, and nothing came after it.
pub(super) fn no_answer(facts: &Facts<'_>, client: &ClientEvidence) -> Verdict {
    let remote = client.remote;
    let acked = client.tcp.is_some_and(|tcp| tcp.syn_data);
    let no_reply = "if this server answers nothing by design, do not wait for it: `--no-reply`; if it is slow, wait \
         longer";
    if !acked {
        let fault = fast_open_fault(facts, client);
        let seen = format!(
            "{remote} completed the handshake and then sent no answer in the time given{fault}"
        );
        let left = facts.candidates(Symptom::NoAnswer);
        if facts.read(Sign::MessageAcknowledged) == Some(false) {
            let unacked = format!(
                "{seen}; of the {} that were sent nothing was acknowledged, so they never arrived, or nothing comes \
                 back",
                bytes(client.message_bytes)
            );
            return Ruling::new(Outcome::Failed, unacked)
                .cause(Cause::TimedOut, View::Client)
                .possible(&left)
                .verdict(format!(
                    "Try a smaller first message, as large ones are lost where ICMP is filtered and the path's MTU is \
                     smaller than this link's: {}; then look at the path: {}.",
                    commands::small(remote, 64),
                    commands::hops(facts)
                ));
        }
        let arrived = match facts.read(Sign::MessageAcknowledged) {
            Some(true) => ", although its host acknowledged the whole message",
            _ => "",
        };
        return Ruling::new(Outcome::Failed, format!("{seen}{arrived}"))
            .cause(Cause::TimedOut, View::Client)
            .verdict(format!("Look at the program on the server; {no_reply}."));
    }
    let seen = format!(
        "The SYN-ACK acknowledged the {} of the SYN, and then no answer came in the time given",
        bytes(facts.in_syn())
    );
    // Acknowledgements that are lost do that to a live path as well, and a silent server does the rest.
    let deaf = facts.server.is_some_and(|server| {
        server.tcp.state == TcpState::SynRecv && server.tcp.total_retrans > 1
    });
    if deaf {
        return Ruling::new(
            Outcome::Failed,
            format!("{seen}: the server got the data and had not heard more of this host by then"),
        )
        .candidates(&[Cause::TimedOut, Cause::DeadAfterSynData], View::Client)
        .verdict(format!(
            "Repeat: {}; once is loss and a silent server, each time is a box that goes silent: find it: {}; \
             the server has got the data, so repeat only what may run twice.",
            commands::probe(facts, 5),
            commands::hops(facts)
        ));
    }
    Ruling::new(
        Outcome::Failed,
        format!("{seen}: the server is silent or slow, or the path is dead after a SYN with data"),
    )
    .cause(Cause::TimedOut, View::Client)
    .verdict(format!(
        "The server's host took the data, and nothing shows whether its program did: {no_reply}; a capture here \
         tells whether anything comes after the SYN-ACK: {}; repeat only what may run twice.",
        commands::capture(facts)
    ))
}

/// What became of fast open before the answer failed to come.
fn fast_open_fault(facts: &Facts<'_>, client: &ClientEvidence) -> &'static str {
    match client.tcp.map(|tcp| tcp.client_fail) {
        _ if facts.in_syn() == 0 => "",
        Some(ClientFail::SynRetransmitted) => {
            "; before that the SYN with data got no answer, and one without data did"
        }
        Some(ClientFail::DataNotAcked) => {
            "; before that the SYN-ACK did not acknowledge the data of the SYN"
        }
        _ => "",
    }
}

/// The handshake ended, and the connection broke before an answer.
pub(super) fn broken(facts: &Facts<'_>, client: &ClientEvidence, errno: i32) -> Verdict {
    let errno = Errno(errno);
    let acked = client.tcp.is_some_and(|tcp| tcp.syn_data);
    let data = match facts.in_syn() {
        sent if acked => format!(", after the {} of the SYN were acknowledged", bytes(sent)),
        0 => String::new(),
        sent => {
            format!(", after a SYN with {} that were not acknowledged by the SYN-ACK", bytes(sent))
        }
    };
    let ruling = Ruling::new(
        Outcome::Failed,
        format!(
            "{} completed the handshake, and the connection broke with {errno} before an answer{data}",
            client.remote
        ),
    )
    .blame(Blame::Unknown);
    let ruling = match errno.sort() {
        Sort::TimedOut => ruling.cause(Cause::TimedOut, View::Client),
        Sort::Unreachable | Sort::Local => ruling.cause(Cause::Unreachable, View::Client),
        // A reset after the handshake is the program's as often as a box's: no word fits both.
        Sort::Refused | Sort::Other => ruling,
    };
    let twice = match client.attempt {
        Attempt::InSyn(sent) if sent > 0 => {
            "; the server may have got the data, so repeat only what may run twice"
        }
        _ => "",
    };
    ruling.verdict(format!(
        "Look at the log of the program on the server, which may close such connections itself; if it \
         does not, capture on both ends to see where the reset comes from: {}{twice}.",
        commands::capture(facts)
    ))
}

fn timed_out(client: &ClientEvidence, seen: String) -> Verdict {
    Ruling::new(Outcome::Failed, seen).cause(Cause::TimedOut, View::Client).verdict(format!(
        "Check that the host is up and no firewall drops this port: {} and {}.",
        commands::regular(client.remote),
        commands::path(client.remote)
    ))
}

/// A failure that more connections, with and without data in their SYNs, would settle.
fn undecided(
    facts: &Facts<'_>,
    client: &ClientEvidence,
    seen: &str,
    candidates: &[Cause],
) -> Verdict {
    let check = match client.regular_check {
        None => "no regular connection was tried",
        Some(RegularCheck::Connected) => "a regular connection works; more of each are needed",
        Some(_) => "the regular connection that was tried ended in another way and does not help",
    };
    Ruling::new(
        Outcome::Failed,
        format!("{seen}, and {check} to say whether the data is the reason"),
    )
    .candidates(candidates, View::Client)
    .verdict(match client.regular_check {
        Some(RegularCheck::Connected) => {
            format!("To settle it, repeat: {}.", commands::probe(facts, 5))
        }
        _ => {
            format!("To settle it, try a regular connection: {}.", commands::regular(client.remote))
        }
    })
}
