//! 1 GB from an upstream through each server that forwards, in turn.

use std::fmt::Write as _;

use crate::ground::{CLIENT_CORE, Ground, Started};
use crate::measure::{cpu_us, number};
use crate::peers::{self, HAPROXY, TFO_SERVER};
use crate::table::Spread;
use crate::{Plan, Result, say, speed};

const BYTES: f64 = 1e9;
const FIRST_PORT: u16 = 20_201;

/// Rates in MB/s and milliseconds of CPU time, one value per round.
struct Server {
    name: &'static str,
    port: u16,
    started: Started,
    rates: Vec<f64>,
    cpu: Vec<f64>,
}

/// Measures all servers. Returns a Markdown table. The upstream and the client share the client's core.
pub(crate) fn measure(ground: &Ground, plan: &Plan) -> Result<String> {
    let _upstream = speed::upstream(ground, "pour")?;
    let mut servers = Vec::new();
    for (port, peer) in (FIRST_PORT..).zip(peers::FORWARD) {
        match speed::start(ground, peer, port) {
            Ok(started) => servers.push(Server {
                name: peer.name,
                port,
                started,
                rates: Vec::new(),
                cpu: Vec::new(),
            }),
            Err(e) => say(&format!("LEFT OUT: {}: {e}", peer.name)),
        }
    }
    for round in 1..=plan.rounds {
        say(&format!("round {round} of {}: 1 GB through {} servers", plan.rounds, servers.len()));
        for server in &mut servers {
            let before = cpu_us(server.started.id())?;
            let document =
                ground.client(CLIENT_CORE, &["bulk".to_owned(), server.port.to_string()])?;
            if number(&document, "bytes")? < BYTES {
                return Err(format!("{}: the client got {document}", server.name).into());
            }
            server.rates.push(BYTES / 1e6 / number(&document, "seconds")?);
            server.cpu.push((cpu_us(server.started.id())? - before) / 1000.0);
        }
    }
    let Some(base) = servers.first() else { return Ok("nothing was measured\n".to_owned()) };
    let mut text = format!(
        "| server | rate, MB/s | rate against {0} | CPU for 1 GB, ms | CPU against {0} |\n| --- | --- | --- | --- | --- |\n",
        base.name
    );
    let mut targets = String::new();
    for server in &servers {
        let rate = Spread::of_pairs(&server.rates, &base.rates);
        let cpu = Spread::of_pairs(&server.cpu, &base.cpu);
        let median = |figures: &[f64]| {
            Spread::of(figures.iter().copied()).map_or(f64::NAN, |spread| spread.median)
        };
        let (Some(rate), Some(cpu)) = (rate, cpu) else { continue };
        let _ = writeln!(
            text,
            "| {} | {:.0} | {rate} | {:.0} | {cpu} |",
            server.name,
            median(&server.rates),
            median(&server.cpu)
        );
        if server.name == TFO_SERVER && base.name == HAPROXY {
            for (what, spread, reached) in
                [("rate", rate, rate.median >= 1.0), ("CPU", cpu, cpu.median <= 1.0)]
            {
                let word = if reached { "reached" } else { "MISSED " };
                let bound = if what == "rate" { "least" } else { "most" };
                let _ = writeln!(
                    targets,
                    "{word}: {what} of {TFO_SERVER} against {HAPROXY}: {spread}, to be at {bound} 1"
                );
            }
        }
    }
    Ok(text + "\n" + &targets)
}
