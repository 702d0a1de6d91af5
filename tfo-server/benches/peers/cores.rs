//! Two cores compared with one.
//!
//! With a client per server no core is left over. One core runs a server and its client; two cores run the server with
//! two workers, and two clients, each on its own core. Loopback's softirqs run on the core where they are raised.

use std::fmt::Write as _;

use crate::ground::{Ground, Started};
use crate::measure::{AT_A_TIME, Load, load_arguments};
use crate::peers::{self, LIMIT, Peer, TFO_SERVER};
use crate::table::Spread;
use crate::{Plan, Result, say};

const ONE: u16 = 20_301;
const BOTH: u16 = 20_302;
const AT_LEAST: f64 = 1.85;

/// Measures `tfo-server`, and the limit with a process per core, which shows what this machine allows.
pub(crate) fn measure(ground: &Ground, plan: &Plan) -> Result<String> {
    ground.steer(false)?;
    let mut text =
        "| server | one core, 1/s | two cores, 1/s | ratio |\n| --- | --- | --- | --- |\n"
            .to_owned();
    for peer in peers::ONE_SHOT.iter().filter(|peer| [LIMIT, TFO_SERVER].contains(&peer.name)) {
        match ratio(ground, plan, peer) {
            Ok((one, both, ratio)) => {
                let _ = writeln!(
                    text,
                    "| {} | {:.0} | {:.0} | {ratio} |",
                    peer.name, one.median, both.median
                );
                if peer.name == TFO_SERVER {
                    let word = if ratio.median >= AT_LEAST { "reached" } else { "MISSED " };
                    let _ = writeln!(
                        text,
                        "\n{word}: {TFO_SERVER}: {ratio}, to be at least {AT_LEAST}"
                    );
                }
            }
            Err(e) => say(&format!("LEFT OUT: {}: {e}", peer.name)),
        }
    }
    Ok(text)
}

fn ratio(ground: &Ground, plan: &Plan, peer: &Peer) -> Result<(Spread, Spread, Spread)> {
    let start = |port, workers, cores| -> Result<Started> {
        ground.serve(peer.name, cores, &peer.command(ground, port, 0, workers)?, port)
    };
    let _one = start(ONE, 1, "0")?;
    // The limit has one thread: a second process serves the second client.
    let (_both, second) = if peer.name == LIMIT {
        (vec![start(BOTH, 1, "0")?, start(BOTH + 1, 1, "1")?], BOTH + 1)
    } else {
        (vec![start(BOTH, 2, "0,1")?], BOTH)
    };
    let (mut one, mut both) = (Vec::new(), Vec::new());
    for round in 1..=plan.rounds {
        say(&format!("round {round} of {}: {} on one core and on two", plan.rounds, peer.name));
        one.push(rate(ground, plan, &[("0", ONE)])?);
        both.push(rate(ground, plan, &[("0", BOTH), ("1", second)])?);
    }
    let nothing = "nothing was measured";
    Ok((
        Spread::of(one.iter().copied()).ok_or(nothing)?,
        Spread::of(both.iter().copied()).ok_or(nothing)?,
        Spread::of_pairs(&both, &one).ok_or(nothing)?,
    ))
}

/// Returns the total rate of these clients, each on its own core.
fn rate(ground: &Ground, plan: &Plan, clients: &[(&str, u16)]) -> Result<f64> {
    let mut running = Vec::new();
    for (core, port) in clients {
        let command =
            ground.client_command(core, &load_arguments(*port, plan.seconds / 2.0, AT_A_TIME));
        running.push(ground.host.spawn(command)?);
    }
    let mut rate = 0.0;
    for client in running {
        let output = client.wait_with_output()?;
        if !output.status.success() {
            return Err(
                format!("the client: {}", String::from_utf8_lossy(&output.stderr).trim()).into()
            );
        }
        let load = Load::from_json(&serde_json::from_slice(&output.stdout)?)?;
        if load.wrong > 0.0 || load.acked < 1.0 {
            return Err(format!(
                "{} connections failed, data acknowledged in {}",
                load.wrong, load.acked
            )
            .into());
        }
        rate += load.rate;
    }
    Ok(rate)
}
