//! What all worlds together showed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use tfo_core::diagnosis::{Blame, Cause, Outcome};
use toml::Value;

use crate::hold::{decided, hold};
use crate::play::Played;
use crate::truth::Truth;
use crate::world::World;

/// The share of two-ended worlds whose fault must be stated, in percent: with one fault and with two. To be raised only.
const DECIDED: [usize; 2] = [82, 80];

/// What one world showed.
#[derive(Default)]
pub(crate) struct Seen {
    seed: u64,
    connections: usize,
    verdicts: usize,
    wrong: Vec<(String, String)>,
    /// How many faults a two-ended world has whose fault acted, and whether it was stated.
    decided: Option<(usize, bool)>,
    /// The same of each such connection.
    stated: Vec<bool>,
    faults: String,
    context: String,
    late: bool,
    /// How often it was played again because packets were late.
    again: usize,
}

#[derive(Default)]
pub(crate) struct Report {
    seen: Vec<Seen>,
}

impl Seen {
    pub(crate) fn new(world: &World, played: &Played, tell: bool) -> Self {
        let mut it = Self {
            seed: world.seed,
            connections: played.connections.len(),
            faults: world.faults.join(", "),
            context: world.context(),
            ..Self::default()
        };
        if tell {
            println!("{world:#?}");
        }
        for (number, connection) in played.connections.iter().enumerate() {
            let of_client = Truth::of_client(world, played, connection);
            let of_server = Truth::of_server(world, played, connection);
            let mut text = format!(
                "  connection {number}, reached {:?}\n  packets {:?}\n  acted {:?}, maybe {:?}\n",
                connection.reached, of_client.packets, of_client.acted, of_client.maybe
            );
            if world.proxy {
                let _ = writeln!(text, "  beyond the proxy {:?}", of_server.packets);
            }
            let mut wrong = Vec::new();
            for (view, evidence, verdict) in &connection.views {
                it.verdicts += 1;
                let truth = if view.starts_with("server") { &of_server } else { &of_client };
                let _ = writeln!(
                    text,
                    "  {view}: {} {:?} @{:?} {:?}{}\n    {}",
                    verdict.outcome,
                    verdict.cause.map(Cause::as_str),
                    verdict.blame.map(Blame::as_str),
                    verdict.candidates.iter().map(|cause| cause.as_str()).collect::<Vec<_>>(),
                    if verdict.candidates_complete { " complete" } else { "" },
                    brief(&Value::try_from(evidence).unwrap().to_string())
                );
                wrong.extend(hold(view, verdict, evidence, truth));
                let works = matches!(verdict.outcome, Outcome::FastOpen | Outcome::CookieGranted);
                // What a proxy hides is no second end of this connection.
                if *view == "both" && !works && !of_client.acted.is_empty() && !world.proxy {
                    let so = decided(verdict, &of_client);
                    it.stated.push(so);
                    let before = it.decided.is_some_and(|(_, decided)| decided);
                    it.decided = Some((world.faults.len(), before || so));
                }
            }
            if tell {
                println!("{text}");
            }
            for one in wrong {
                it.wrong.push((one.kind, format!("{}\n{text}", one.what)));
            }
        }
        it
    }

    /// It was played again this often.
    pub(crate) fn after(self, again: usize) -> Self {
        Self { again, ..self }
    }

    /// A world that this machine was too busy for.
    pub(crate) fn too_late() -> Self {
        Self { late: true, ..Self::default() }
    }
}

/// Without the counters that did not change.
fn brief(evidence: &str) -> String {
    let mut text = evidence.to_owned();
    for zero in [
        "accept_overflows",
        "active",
        "active_fail",
        "blackhole",
        "cookie_reqd",
        "listen_drops",
        "listen_overflow",
        "passive",
        "passive_alt_key",
        "passive_fail",
        "syn_retrans",
        "syncookies_sent",
    ] {
        text =
            text.replace(&format!(" {zero} = 0,"), "").replace(&format!(", {zero} = 0 }}"), " }");
    }
    text
}

impl Report {
    pub(crate) fn add(&mut self, seen: Seen) {
        for (_, what) in &seen.wrong {
            println!("\nFALSE in world {} ({}): {what}", seen.seed, seen.faults);
        }
        self.seen.push(seen);
        if self.seen.len().is_multiple_of(500) {
            let wrong: usize = self.seen.iter().map(|seen| seen.wrong.len()).sum();
            let again: usize = self.seen.iter().map(|seen| seen.again).sum();
            let worlds = self.seen.len();
            println!("so far: {worlds} worlds, played again {again} times, {wrong} false");
        }
    }

    pub(crate) fn print(&self, time: Duration) {
        let sum = |of: fn(&Seen) -> usize| self.seen.iter().map(of).sum::<usize>();
        println!(
            "\nMEASURED: {} worlds, {} connections, {} verdicts in {:.1} s; played again {} times, {} too late to be believed",
            self.seen.len(),
            sum(|seen| seen.connections),
            sum(|seen| seen.verdicts),
            time.as_secs_f64(),
            sum(|seen| seen.again),
            self.seen.iter().filter(|seen| seen.late).count()
        );
        let mut kinds: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for seen in &self.seen {
            for (kind, _) in &seen.wrong {
                kinds.entry(kind).or_default().push(seen.seed);
            }
        }
        println!("MEASURED: {} false", sum(|seen| seen.wrong.len()));
        for (kind, mut seeds) in kinds {
            let count = seeds.len();
            seeds.dedup();
            seeds.truncate(12);
            println!("MEASURED: {count} x {kind}: worlds {seeds:?}");
        }
        for faults in [1, 2] {
            let (decided, all) = self.decided(faults);
            println!(
                "MEASURED: {decided} of {all} two-ended worlds with {faults} fault(s) decided"
            );
        }
        let stated: Vec<bool> = self.seen.iter().flat_map(|seen| seen.stated.clone()).collect();
        let so = stated.iter().filter(|stated| **stated).count();
        println!("MEASURED: {so} of {} connections with a fault decided", stated.len());
        let mut open: BTreeMap<String, (usize, Vec<u64>)> = BTreeMap::new();
        for seen in self.seen.iter().filter(|seen| matches!(seen.decided, Some((_, false)))) {
            let (count, seeds) =
                open.entry(format!("{}{}", seen.faults, seen.context)).or_default();
            *count += 1;
            seeds.push(seen.seed);
        }
        for (faults, (count, mut seeds)) in open {
            seeds.truncate(6);
            println!("UNDECIDED: {count} x {faults}: {seeds:?}");
        }
    }

    fn decided(&self, faults: usize) -> (usize, usize) {
        let with: Vec<bool> = self
            .seen
            .iter()
            .filter_map(|seen| seen.decided)
            .filter(|(count, _)| *count == faults)
            .map(|(_, decided)| decided)
            .collect();
        (with.iter().filter(|decided| **decided).count(), with.len())
    }

    pub(crate) fn check(&self, floors: bool) {
        let wrong: usize = self.seen.iter().map(|seen| seen.wrong.len()).sum();
        assert_eq!(wrong, 0, "false statements");
        assert!(!self.seen.iter().any(|seen| seen.late), "this machine is too busy for the paths");
        for (faults, floor) in [1, 2].into_iter().zip(DECIDED).filter(|_| floors) {
            let (decided, all) = self.decided(faults);
            assert!(decided * 100 >= all * floor, "{decided} of {all} with {faults} fault(s)");
        }
    }
}
