//! The cost of a first connection, which requests a cookie, compared with a regular one.

use std::fmt::Write as _;

use crate::ground::{CLIENT_CORE, Ground};
use crate::measure::{Load, cpu_us, number};
use crate::peers::{self, LIMIT_BATCH, TFO_SERVER};
use crate::speed;
use crate::table::Spread;
use crate::{Plan, Result, say};

const FIRST_PORT: u16 = 20_501;
/// Maximum ratio of the CPU time of a connection with a cookie request to that of a regular one.
const AT_MOST: f64 = 1.3;

/// Measures `tfo-server`, and a server that only reads the evidence, which shows the kernel's share.
pub(crate) fn measure(ground: &Ground, plan: &Plan) -> Result<String> {
    ground.steer(false)?;
    let mut text = "| server | regular, µs of CPU | with a cookie request | ratio |\n| --- | --- | --- | --- |\n".to_owned();
    let mut target = String::new();
    let wanted = [LIMIT_BATCH, TFO_SERVER];
    let peers = peers::ONE_SHOT.iter().filter(|peer| wanted.contains(&peer.name));
    for (port, peer) in (FIRST_PORT..).zip(peers) {
        let started = speed::start(ground, peer, port)?;
        // The kernel's bits are known once a connection has used fast open.
        Load::one_by_one(ground, port, 0.1, 1)?;
        let each = |kind: &str| -> Result<f64> {
            let before = cpu_us(started.id())?;
            let seconds = (plan.seconds / 2.0).to_string();
            let arguments = ["first", &port.to_string(), &seconds, kind].map(str::to_owned);
            let document = ground.client(CLIENT_CORE, &arguments)?;
            Ok((cpu_us(started.id())? - before) / number(&document, "transactions")?)
        };
        let (mut regular, mut asking) = (Vec::new(), Vec::new());
        for round in 1..=plan.rounds {
            say(&format!("round {round} of {}: first connections, {}", plan.rounds, peer.name));
            regular.push(each("regular")?);
            asking.push(each("request")?);
        }
        let Some(ratio) = Spread::of_pairs(&asking, &regular) else { continue };
        let median = |figures: &[f64]| {
            Spread::of(figures.iter().copied()).map_or(f64::NAN, |spread| spread.median)
        };
        let _ = writeln!(
            text,
            "| {} | {:.1} | {:.1} | {ratio} |",
            peer.name,
            median(&regular),
            median(&asking)
        );
        if peer.name == TFO_SERVER {
            let word = if ratio.median <= AT_MOST { "reached" } else { "MISSED " };
            let _ = writeln!(target, "{word}: {TFO_SERVER}: {ratio}, to be at most {AT_MOST}");
        }
    }
    Ok(text + "\n" + &target)
}
