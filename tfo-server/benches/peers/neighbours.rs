//! The time of a short answer next to bulk transfers in the same worker: six uploads through a proxy, or twelve senders
//! whose bytes are discarded.

use std::fmt::Write as _;

use crate::ground::{CLIENT_CORE, Ground, Started};
use crate::measure::Load;
use crate::peers::{self, Peer, TFO_SERVER, second};
use crate::speed;
use crate::table::Spread;
use crate::{Plan, Result, say};

const FIRST_PORT: u16 = 20_401;
/// Maximum ratio of the 99th percentile to that of the better peer.
const AT_MOST: f64 = 1.5;

/// A server, and its clients' milliseconds to the first byte in each round.
struct Server {
    name: &'static str,
    port: u16,
    uploads: usize,
    _started: Started,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

/// Measures all servers. Returns a Markdown table. The upstream and the clients share the client's core.
pub(crate) fn measure(ground: &Ground, plan: &Plan) -> Result<String> {
    ground.steer(false)?;
    let _upstream = speed::upstream(ground, "sink")?;
    let mut servers = Vec::new();
    let cases = [(peers::NEIGHBOURS, 6), (peers::DISCARDING, 12)];
    let all = cases.iter().flat_map(|(all, uploads)| all.iter().map(move |peer| (peer, *uploads)));
    for (port, (peer, uploads)) in (FIRST_PORT..).zip(all) {
        match speed::start(ground, peer, port) {
            Ok(started) => servers.push(server(peer, port, uploads, started)),
            Err(e) => say(&format!("LEFT OUT: {}: {e}", peer.name)),
        }
    }
    for round in 1..=plan.rounds {
        say(&format!("round {round} of {}: neighbours of {} servers", plan.rounds, servers.len()));
        for server in &mut servers {
            let load =
                round_of(ground, plan, server).map_err(|e| format!("{}: {e}", server.name))?;
            server.p50.push(load.p50 / 1000.0);
            server.p99.push(load.p99 / 1000.0);
        }
    }
    Ok(table(&servers) + "\n" + &target(&servers))
}

fn server(peer: &Peer, port: u16, uploads: usize, started: Started) -> Server {
    let (p50, p99) = (Vec::new(), Vec::new());
    Server { name: peer.name, port, uploads, _started: started, p50, p99 }
}

fn round_of(ground: &Ground, plan: &Plan, server: &Server) -> Result<Load> {
    let arguments =
        ["upload".to_owned(), second(server.port).to_string(), server.uploads.to_string()];
    let _uploading = ground.client_that_stays(CLIENT_CORE, &arguments)?;
    let load = Load::one_by_one(ground, server.port, plan.seconds, 1)?;
    if load.wrong > 0.0 {
        return Err(format!("{} connections failed", load.wrong).into());
    }
    Ok(load)
}

fn table(servers: &[Server]) -> String {
    let mut text =
        "| server | beside it | p50, ms | p99, ms |\n| --- | --- | --- | --- |\n".to_owned();
    let middle = |figures: &[f64]| {
        Spread::of(figures.iter().copied()).map_or(String::new(), |spread| spread.to_string())
    };
    for Server { name, uploads, p50, p99, .. } in servers {
        let what = if *uploads == 6 { "6 uploads, forwarded" } else { "12 senders, discarded" };
        let _ = writeln!(text, "| {name} | {what} | {} | {} |", middle(p50), middle(p99));
    }
    text
}

/// Compares the server with the better of the others, round by round.
fn target(servers: &[Server]) -> String {
    let forwarding = || servers.iter().filter(|server| server.uploads == 6);
    let own = forwarding().find(|server| server.name == TFO_SERVER);
    let ratios = own.into_iter().flat_map(|own| {
        let others = forwarding().filter(|server| server.name != TFO_SERVER);
        others.filter_map(|other| Some((other.name, Spread::of_pairs(&own.p99, &other.p99)?)))
    });
    // The better peer has the greater ratio.
    let Some((name, spread)) = ratios.reduce(|a, b| if a.1.median > b.1.median { a } else { b })
    else {
        return "no other server was measured\n".to_owned();
    };
    let word = if spread.median <= AT_MOST { "reached" } else { "MISSED " };
    format!("{word}: p99 of {TFO_SERVER} against {name}: {spread}, to be at most {AT_MOST}\n")
}
