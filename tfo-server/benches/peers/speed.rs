//! Rounds of transactions. All servers take turns, so that disturbances of the machine affect all of them equally.

use std::thread::sleep;
use std::time::Duration;

use crate::ground::{CLIENT_CORE, Ground, SERVER_CORE, Started};
use crate::measure::{Load, cpu_us, segments, syscalls};
use crate::peers::Peer;
use crate::{Plan, Result, say};

const FIRST_PORT: u16 = 20_001;
/// Number of slices of a server's turn. All servers run one slice after another, because a shared machine is slow for a
/// second now and then.
const SLICES: u16 = 5;
pub(crate) const UPSTREAM: u16 = 20_000;

/// The result of one server in one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    /// With loopback's softirqs on the server's core, which is then always busy: the measured rate is the maximum.
    pub(crate) load: Load,
    /// Without: microseconds of the server's threads per transaction.
    pub(crate) cpu: f64,
    pub(crate) segments: f64,
}

impl Turn {
    fn mean(slices: &[Self]) -> Self {
        let sum = |figure: fn(&Self) -> f64| slices.iter().map(figure).sum::<f64>();
        let mean = |figure| sum(figure) / f64::from(SLICES);
        let load = Load {
            rate: mean(|slice| slice.load.rate),
            all: sum(|slice| slice.load.all),
            acked: mean(|slice| slice.load.acked),
            wrong: sum(|slice| slice.load.wrong),
            p50: mean(|slice| slice.load.p50),
            p99: mean(|slice| slice.load.p99),
        };
        Self { load, cpu: mean(|slice| slice.cpu), segments: mean(|slice| slice.segments) }
    }
}

/// A server, with one turn per round.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    pub(crate) turns: Vec<Turn>,
    pub(crate) syscalls: Option<f64>,
}

struct Running<'a> {
    peer: &'a Peer,
    port: u16,
    started: Started,
}

/// Measures these servers. The upstream of those that forward runs on the client's core.
pub(crate) fn measure(
    ground: &Ground,
    plan: &Plan,
    peers: &[Peer],
    forward: bool,
) -> Result<Vec<Measured>> {
    let _upstream = if forward { Some(upstream(ground, "epoll-more")?) } else { None };
    let mut running = Vec::new();
    for (port, peer) in (FIRST_PORT..).zip(peers) {
        match start(ground, peer, port) {
            Ok(started) => running.push(Running { peer, port, started }),
            Err(e) => say(&format!("LEFT OUT: {}: {e}", peer.name)),
        }
    }
    let mut rounds: Vec<Vec<Turn>> = vec![Vec::new(); running.len()];
    for round in 1..=plan.rounds {
        say(&format!("round {round} of {}: {} servers", plan.rounds, running.len()));
        let mut slices: Vec<Vec<Turn>> = vec![Vec::new(); running.len()];
        for _ in 0..SLICES {
            for (server, turns) in running.iter().zip(&mut slices) {
                let turn = turn(ground, server, plan.seconds / f64::from(SLICES) / 2.0);
                turns.push(turn.map_err(|e| format!("{}: {e}", server.peer.name))?);
            }
        }
        for (turns, slices) in rounds.iter_mut().zip(&slices) {
            turns.push(Turn::mean(slices));
        }
    }
    ground.steer(false)?;
    let mut measured = Vec::new();
    for (server, turns) in running.iter().zip(rounds) {
        let syscalls = syscalls(ground, &server.started, server.port);
        if let Err(e) = &syscalls {
            say(&format!("can't count the system calls of {}: {e}", server.peer.name));
        }
        measured.push(Measured { name: server.peer.name, turns, syscalls: syscalls.ok() });
    }
    Ok(measured)
}

/// Starts an upstream on the client's core.
pub(crate) fn upstream(ground: &Ground, mode: &str) -> Result<Started> {
    let mut limit = ground.built("limit");
    limit.arg(mode).arg(UPSTREAM.to_string());
    ground.serve("upstream", CLIENT_CORE, &limit, UPSTREAM)
}

pub(crate) fn start(ground: &Ground, peer: &Peer, port: u16) -> Result<Started> {
    let command = peer.command(ground, port, UPSTREAM, 1)?;
    ground.serve(peer.name, SERVER_CORE, &command, port)
}

fn turn(ground: &Ground, server: &Running<'_>, seconds: f64) -> Result<Turn> {
    let process = server.started.id();
    let steered = ground.steer(true)?;
    let before = segments(&ground.host)?;
    let load = Load::run(ground, server.port, seconds)?;
    // Wait for the last segments.
    sleep(Duration::from_millis(10));
    let segments = (segments(&ground.host)? - before) / load.all;
    if steered {
        ground.steer(false)?;
    }
    let before = cpu_us(process)?;
    let unsteered = Load::run(ground, server.port, seconds)?;
    let cpu = (cpu_us(process)? - before) / unsteered.all;
    Ok(Turn { load, cpu, segments })
}
