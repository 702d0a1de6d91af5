//! What was found, in sentences, and what to do.

use tfo_core::path::{SynKind, groups};

use super::result::Exploration;
use crate::network::NetworkSettings;
use crate::prose::verdict_with_cause;

/// Neither the first hops nor the last ones answer.
const WITHOUT_ICMP: &str = "No ICMP errors about TCP come back to this host, neither from the first hops nor from the last \
                            ones: a firewall or a sandbox keeps them.";
/// The kernel has no error queue for TCP.
const WITHOUT_QUEUE: &str =
    "This kernel or sandbox does not report ICMP errors to TCP sockets (IP_RECVERR).";
/// What remains without them.
const TWO_ENDS: &str = "What both ends see, `tfo-client` shows with tfo-server at the target.";

/// What was found: one paragraph each, the most telling first.
pub(super) fn paragraphs(found: &Exploration) -> Vec<String> {
    let mut told = found.conclusion.sentences(&found.map);
    if found.map.without_icmp {
        let why = if found.map.samples.is_empty() { WITHOUT_QUEUE } else { WITHOUT_ICMP };
        let ends = match &found.wish.lab {
            Some(lab) => format!("See what both ends see: {}.", lab.command("lab", "")),
            None => TWO_ENDS.to_owned(),
        };
        told.push(format!("{why} Hops cannot be distinguished here. {ends}"));
    } else if found.conclusion.faults.is_empty() && !found.map.interrupted {
        told.insert(0, no_fault(found));
    }
    if found.map.interrupted {
        told.push(
            "It was interrupted: this is the result so far. What is not reported may not have been sure yet."
                .to_owned(),
        );
    }
    told
}

/// The line on the connections from end to end.
pub(super) fn end_to_end(found: &Exploration) -> String {
    match (found.verdict(), found.granted) {
        (Some(verdict), _) => format!("{}. {}", verdict_with_cause(verdict), verdict.finding),
        (None, Some(true)) => {
            "the target granted a cookie. No data was sent to it: that takes --to-target."
                .to_owned()
        }
        (None, Some(false)) => {
            "the target granted no cookie. No data was sent to it: that takes --to-target."
                .to_owned()
        }
        (None, None) if found.connects && found.map.interrupted => {
            "regular connections work. No data was sent to the target by then.".to_owned()
        }
        (None, None) if found.connects => {
            "regular connections work. No data was sent to the target: that takes --to-target."
                .to_owned()
        }
        (None, None) => "the target does not answer.".to_owned(),
    }
}

/// What to do about it: one paragraph each.
pub(super) fn advice(found: &Exploration) -> Vec<String> {
    if let Some(lab) = &found.wish.lab {
        return advice_in_the_lab(found, lab);
    }
    let groups = groups(&found.conclusion.faults);
    let mut told: Vec<String> = groups
        .iter()
        .map(|group| group.advice(&found.map))
        .filter(|text| !text.is_empty())
        .collect();
    told.dedup();
    if told.is_empty() {
        match found.verdict() {
            // This command has shown no hop: its own name is no next step.
            Some(verdict) if found.works() == Some(false) && verdict.advice.contains("tfo-client path") => {
                let (ip, port) = (found.address.ip().to_canonical(), found.address.port());
                told.push(format!(
                    "No hop shows it: compare captures of both ends: \
                     `sudo tcpdump -vni any 'host {ip} and tcp port {port}'`."
                ));
            }
            Some(verdict) if found.works() == Some(false) => told.push(verdict.advice.clone()),
            None if !found.wish.to_target && found.granted == Some(false) => told.push(
                "A target without fast open grants none. With tfo-server there, --to-target shows whether the \
                 request arrives, and whether the answer's option comes back."
                    .to_owned(),
            ),
            _ => {}
        }
    }
    told
}

/// What to do about a path of the lab: whatever is on it was asked for.
fn advice_in_the_lab(found: &Exploration, lab: &NetworkSettings) -> Vec<String> {
    let is_sound = found.conclusion.faults.is_empty();
    if is_sound && (found.works() == Some(true) || found.map.interrupted) {
        return Vec::new();
    }
    if is_sound && found.works().is_none() {
        return vec![format!("Let data reach the lab's server: {}.", found.command("--to-target"))];
    }
    let packets = format!("See the packets: {}.", lab.command("lab", ""));
    match lab.without_obstacles("path --lab") {
        Some(calm) => {
            let asked = lab.obstacles().join(", ");
            vec![format!("The lab was asked for this: {asked}. {calm} {packets}")]
        }
        None => vec![packets],
    }
}

fn no_fault(found: &Exploration) -> String {
    let map = &found.map;
    if found.kinds.is_empty() && !found.works().unwrap_or(false) {
        return "This host's half of fast open is off, or its SYNs carry no option: there is nothing to compare regular \
                SYNs with. `tfo-client doctor` names the setting."
            .to_owned();
    }
    let hops = map.hops();
    if let Some(end) = found.failed_elsewhere() {
        let port = end.local().map_or(0, |local| local.port());
        return format!(
            "From port {port} a connection ended otherwise ({}), and the last one, from port {}, used fast open: where \
             routers distribute connections, only some of the ways may be broken, and these SYNs took another one. \
             Repeat it: {}.",
            verdict_with_cause(&end.verdict),
            map.local.port(),
            found.command("--all")
        );
    }
    if found.works() == Some(true) {
        let hops = match hops.len() {
            0 => String::new(),
            1 => ", over one hop that answers".to_owned(),
            many => format!(", over {many} hops that answer"),
        };
        return if found.verdict().is_some_and(|verdict| verdict.unanswered) {
            format!("The data in the SYN was acknowledged from end to end{hops}.")
        } else {
            format!("Fast open works from end to end{hops}.")
        };
    }
    let (Some(first), Some(last)) = (hops.first(), hops.last()) else {
        return "No hop answers by ICMP: there is none in front of the target, or none that says so.".to_owned();
    };
    if found.kinds.iter().all(|kind| map.cell(*first, *kind).tried == 0) {
        return "There is nothing yet to compare regular SYNs with.".to_owned();
    }
    let seen = format!(
        "Up to hop {last}, the last one that answers, nothing is seen that changes, drops or refuses SYNs of fast open."
    );
    let rest = if found.verdict().is_some() {
        "What is left is the link behind it, the target, and the way back."
    } else if found.kinds.iter().any(|kind: &SynKind| kind.has_data()) {
        "Whether they reach the target takes data there: --to-target."
    } else {
        "What is left is the link behind it, and the target."
    };
    format!("{seen} {rest}")
}
