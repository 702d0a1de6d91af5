//! The text for people: a ladder and a verdict for each connection, and the time that fast open saved.

use crate::prose::counted;
use std::time::Duration;

use tfo_core::capture::TextStyle;

use super::results::{LabConnection, Results};
use crate::prose::{candidates, next_step, page_hint, style, time, verdict_with_cause, wrap};
use crate::trace;

pub(super) fn head(Results { network, address, .. }: &Results) -> String {
    let mut path = format!("round trip {}", time(Some(network.rtt)));
    if !network.jitter.is_zero() {
        path += &format!(" + up to {}", time(Some(network.jitter)));
    }
    if network.loss > 0.0 {
        path += &format!(", {} % loss", network.loss * 100.0);
    }
    let server = match network.servers {
        1 => "the server".to_owned(),
        many => format!("{many} servers with different keys"),
    };
    let mut boxes = String::new();
    for middlebox in &network.boxes {
        boxes += &wrap(&format!("box {middlebox}: {}", middlebox.does()));
    }
    for rule in &network.rules {
        boxes += &format!("hop {rule}\n");
    }
    if !network.hops.is_empty() {
        path += &format!(", {}", counted(network.hops.len(), "router", "routers"));
    }
    let hosts = format!("A private network, {server} at {address}; {path}.");
    wrap(&hosts) + &boxes + "\n"
}

pub(super) fn block(results: &Results, connection: &LabConnection, look: TextStyle) -> String {
    let ladder = results.ladder(connection).to_text(look);
    let Some(probed) = &connection.probed else {
        return connection.observed.as_ref().map_or(ladder.clone(), |observed| {
            let style = style(observed.outcome, look.colour);
            let verdict = format!("{style}{}{style:#}", observed.in_words());
            format!("{ladder}\n{verdict}\n{}", wrap(&observed.finding))
        });
    };
    let verdict = &probed.verdict;
    let style = style(verdict.outcome, look.colour);
    let mut block = format!("{ladder}\n{style}{}{style:#}\n", verdict_with_cause(verdict));
    if probed.n > 0 {
        block += &wrap(&verdict.finding);
    }
    if let Some(first_byte) = probed.timing.first_byte {
        block += &format!("First byte of the answer after {}", time(Some(first_byte)));
        if let Some(trips) = results.round_trips(first_byte) {
            block += &format!(", {trips:.1} round trips");
        }
        block += ".\n";
    }
    block + &trace::not_drawn(connection.controls)
}

pub(super) fn foot(results: &Results, drawn: usize, colour: bool) -> String {
    let mut foot = String::new();
    if let Some(summary) = results.summary() {
        let style = style(summary.verdict.outcome, colour);
        foot += &format!("Verdict: {style}{}{style:#}\n", verdict_with_cause(&summary.verdict));
        if !results.is_last_finding(&summary.verdict.finding) {
            foot += &wrap(&summary.verdict.finding);
        }
        foot += &candidates(&summary.verdict);
        foot += &wrap(&saved(results));
        foot += &next_step(&summary.verdict);
        foot += &page_hint(&summary.verdict);
    } else if let Some(counts) = results.counts() {
        foot += &wrap(&counts);
        if results.connections.len() > drawn {
            foot += &wrap(&format!(
                "The first {drawn} are drawn; -o json has the packets of all, --pcap writes them for Wireshark."
            ));
        }
    } else {
        foot += "No connection crossed the path.\n";
    }
    foot
}

fn saved(results: &Results) -> String {
    let Some(saved) = results.saved() else {
        return if !results.has_round_trip() {
            "Without a round trip time there is nothing to save: set one, such as --rtt 40ms."
                .to_owned()
        } else if results.is_unanswered() {
            "Without an answer there are no times to compare.".to_owned()
        } else if results.network.is_steady() && !results.has_early_answer() {
            "Nothing was saved.".to_owned()
        } else {
            format!(
                "Single connections do not show what is saved on a path that loses or delays packets by chance, or on a \
                 busy machine: measure many: {}.",
                results.network.command("compare --lab", "")
            )
        };
    };
    let time = time(Some(Duration::from_micros(saved.us.unsigned_abs())));
    let trips = saved.round_trips.abs();
    let unit = if format!("{trips:.1}") == "1.0" { "round trip" } else { "round trips" };
    if trips < 0.5 {
        "Nothing was saved: the first byte of the answer arrived no sooner.".to_owned()
    } else if saved.us > 0 {
        format!("Fast open saved {trips:.1} {unit} ({time}) until the first byte of the answer.")
    } else {
        format!("Trying fast open cost {time} until the first byte of the answer.")
    }
}
