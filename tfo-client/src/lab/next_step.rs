//! The next step in the lab: another lab command. The advice of a verdict is for real hosts and paths.

use tfo_core::diagnosis::{Cause, Outcome, Verdict};

use crate::network::NetworkSettings;

/// Returns the next step in the lab; empty if there is none.
pub(super) fn next_step(network: &NetworkSettings, verdict: &Verdict) -> String {
    match (verdict.outcome, verdict.cause) {
        (Outcome::FastOpen, _) => String::new(),
        (Outcome::CookieGranted, _) => format!(
            "The next connection brings the cookie and data: {}.",
            network.command("lab", "-n 3")
        ),
        (Outcome::NotAttempted, Some(Cause::DisabledByConfig)) => {
            format!("Let the connections use fast open: {}.", network.command("lab", "--mode auto"))
        }
        // More connections settle what a fault of one leaves open; without the mirror they show no more.
        _ if !verdict.candidates.is_empty() && network.server_command.is_none() => format!(
            "To settle which cause it is, repeat: {}. {}",
            network.command("lab", "-n 8"),
            without_trouble(network)
        ),
        _ => without_trouble(network),
    }
}

/// Returns the command for the same path without one of its obstacles.
fn without_trouble(network: &NetworkSettings) -> String {
    if let Some(calm) = network.without_obstacles("lab") {
        let by_a_router = network.boxes.is_empty() && !network.rules.is_empty();
        return if by_a_router {
            let find = network.command("path --lab", "");
            format!("Find the router that does it: {find}. {calm}")
        } else {
            calm
        };
    }
    if !network.is_steady() {
        return format!(
            "On a path that loses or delays packets by chance one connection proves little; measure many: {}.",
            network.command("compare --lab", "")
        );
    }
    format!(
        "Repeat, and look at the packets of each connection: {}.",
        network.command("lab", "-n 5")
    )
}
