//! Verdicts against paths and hosts whose truth is known: each scenario over IPv4 and IPv6, without delay and with
//! 20 ms, in each way of connecting.

use std::collections::{BTreeSet, VecDeque};
use std::env;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use tfo_core::capture::PacketPath;
use tfo_core::diagnosis::{CachedCookie, ClientEvidence, Evidence, ServerEvidence, Verdict, judge};
use tfo_core::lab::{Middlebox, PathSettings, isolated};
use tfo_core::probe::mirror::Answer;
use tfo_core::probe::{Observation, Series};
use tfo_core::socket::Method;
use toml::Value;

use crate::packets;
use crate::scenario_file::{self, Connection, Scenario, as_text, differences, name_of};
use crate::stage::Stage;
use crate::support::families;

/// How many networks run at the same time: most of them wait most of the time.
const AT_ONCE: usize = 8;
/// Half the shortest retransmission timeout.
const TOO_LATE: Duration = Duration::from_millis(100);
/// Runs only the scenarios whose name contains this, and prints what was seen.
const ONLY: &str = "TFO_LAB_SCENARIO";

struct Case<'a> {
    scenario: &'a Scenario,
    v6: bool,
    delay: Duration,
    method: Method,
}

#[test]
fn each_scenario_gets_its_verdicts() {
    isolated(|| {
        let only = env::var(ONLY).ok();
        let families = families();
        let scenarios = scenario_file::all();
        let mut cases = VecDeque::new();
        for scenario in &scenarios {
            if only.as_ref().is_some_and(|only| !scenario.name.contains(only)) {
                continue;
            }
            for &v6 in families {
                for delay in [0, 10].map(Duration::from_millis) {
                    for &method in &scenario.methods {
                        cases.push_back(Case { scenario, v6, delay, method });
                    }
                }
            }
        }
        // Those that wait for dead paths start first, so that the others run beside them.
        cases.make_contiguous().sort_by_key(|case| case.scenario.connect_timeout);
        let (count, start) = (cases.len(), Instant::now());
        let cases = Mutex::new(cases);
        let wrong = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    loop {
                        let Some(case) = cases.lock().unwrap().pop_front() else { return };
                        let found = play_in_time(&case, only.is_some());
                        wrong.lock().unwrap().extend(found);
                    }
                });
            }
        });
        println!("\nMEASURED: {count} scenario cases in {:.1} s", start.elapsed().as_secs_f64());
        let wrong = wrong.into_inner().unwrap();
        assert!(wrong.is_empty(), "{} are not as expected:\n{}", wrong.len(), wrong.join("\n"));
    });
}

#[test]
fn each_box_has_a_scenario_of_its_own() {
    let scenarios = scenario_file::all();
    for &middlebox in Middlebox::ALL {
        let own = scenarios.iter().find(|scenario| scenario.name == middlebox.name());
        let own = own.unwrap_or_else(|| panic!("{middlebox} has no scenario"));
        assert_eq!(own.boxes, [middlebox], "{middlebox}");
    }
    let names: BTreeSet<_> = scenarios.iter().map(|scenario| &scenario.name).collect();
    assert_eq!(names.len(), scenarios.len());
}

/// Runs a case on a machine that keeps the path's times. If packets were so late that a host may have
/// retransmitted, the path was not the one that the scenario describes, and the case is repeated.
fn play_in_time(case: &Case<'_>, tell: bool) -> Vec<String> {
    for _ in 0..10 {
        let (wrong, lateness) = play(case, tell);
        if lateness < TOO_LATE {
            return wrong;
        }
        println!("{} again: packets were {lateness:?} late", case.scenario.name);
    }
    vec![format!("{}: this machine is too busy for the path", case.scenario.name)]
}

/// Returns what was not as expected, and how late packets were.
fn play(case: &Case<'_>, tell: bool) -> (Vec<String>, Duration) {
    let Case { scenario, v6, delay, method } = *case;
    let path = PathSettings::new().boxes(&scenario.boxes).delays(delay, delay);
    let stage = Stage::new(path, scenario, v6);
    let mut wrong = Vec::new();
    let mut cookie = Some(CachedCookie::None);
    let mut series = Series::default();
    for (number, expected) in (1..).zip(scenario.connections(v6, method)) {
        stage.change(&expected.before);
        let seen = stage.connect(method, scenario.message);
        let port = seen.evidence.local.map_or(0, |local| local.port());
        let found = Found::new(&stage, &seen, port, &mut series);
        let found_wrong = found.compare(&expected, cookie.as_ref());
        cookie.clone_from(&seen.evidence.cookie_after);
        let id = format!(
            "{}, {}, {} ms, {}, connection {number}",
            scenario.name,
            if v6 { "IPv6" } else { "IPv4" },
            2 * delay.as_millis(),
            name_of(method)
        );
        if tell || !found_wrong.is_empty() {
            println!("{id}:\n{}", found.as_text());
        }
        wrong.extend(found_wrong.into_iter().map(|what| format!("{id}: {what}")));
    }
    if stage.network.missed() > 0 {
        wrong.push(format!("{}: the path missed packets", scenario.name));
    }
    (wrong, stage.network.lateness())
}

/// What was seen of one connection.
struct Found {
    client: ClientEvidence,
    /// The server's evidence when it answered, and when the client had its answer or had given up.
    server: Option<(ServerEvidence, ServerEvidence)>,
    verdicts: Vec<(&'static str, Verdict)>,
    packets: Vec<String>,
    accepted: usize,
    leaks: Vec<String>,
}

impl Found {
    fn new(stage: &Stage, seen: &Observation, port: u16, series: &mut Series) -> Self {
        let client = seen.evidence.clone();
        let records = stage.wait_for(port);
        let server = records.first().cloned();
        // What the mirror reported to the client; if nothing arrived, what the server knows.
        let mirrored = Answer::parse(&seen.answer).ok().map(|answer| answer.evidence);
        let other_half = mirrored.or_else(|| server.clone().map(|(_, later)| later));
        let mut both = Evidence::new(Some(client.clone()), other_half);
        series.learn(&mut both);
        let mut evidence =
            vec![("client", Evidence::new(Some(client.clone()), None)), ("both", both)];
        if let Some((answered, later)) = &server {
            evidence.push(("server", Evidence::new(None, Some(answered.clone()))));
            evidence.push(("server-later", Evidence::new(None, Some(later.clone()))));
        }
        let packets: Vec<PacketPath> = stage.network.packets();
        Self {
            client,
            verdicts: evidence.iter().map(|(view, evidence)| (*view, judge(evidence))).collect(),
            packets: packets::handshake(&packets, port),
            accepted: records.len(),
            server,
            leaks: evidence.iter().filter_map(|(view, evidence)| leak(view, evidence)).collect(),
        }
    }

    fn compare(&self, expected: &Connection, cookie: Option<&CachedCookie>) -> Vec<String> {
        let mut wrong = self.leaks.clone();
        for (view, expected) in &expected.verdicts {
            match self.verdicts.iter().find(|(found, _)| found == view) {
                Some((_, verdict)) if expected.iter().any(|it| it.is(verdict)) => {}
                Some((_, verdict)) => wrong.push(format!(
                    "verdict of {view}: expected {expected:?}, found {} ({verdict})",
                    as_text(verdict)
                )),
                None => wrong.push(format!("the {view} saw nothing")),
            }
        }
        let value = |evidence| Value::try_from(evidence).unwrap();
        let client = Value::try_from(&self.client).unwrap();
        wrong.extend(differences("client", &expected.client, Some(&client)));
        let server = self.server.as_ref().map(|(answered, _)| value(answered));
        if expected.accepted != Some(0) {
            wrong.extend(differences("server", &expected.server, server.as_ref()));
        }
        let became = became(cookie, self.client.cookie_after.as_ref());
        if expected.cookie.as_ref().is_some_and(|expected| expected != became) {
            wrong.push(format!("the cached cookie is {became}, expected {:?}", expected.cookie));
        }
        if expected.accepted.is_some_and(|accepted| accepted != self.accepted) {
            let Self { accepted, .. } = self;
            wrong.push(format!("the server accepted {accepted}, expected {:?}", expected.accepted));
        }
        if !same_packets(&expected.packets, &self.packets) {
            wrong.push(format!("packets {:?}, expected {:?}", self.packets, expected.packets));
        }
        wrong
    }

    /// Returns it in the form of a scenario file.
    fn as_text(&self) -> String {
        let mut text = String::new();
        for (view, verdict) in &self.verdicts {
            text += &format!("{view} = \"{}\"\n", as_text(verdict));
        }
        text += &format!("client-evidence: {}\n", Value::try_from(&self.client).unwrap());
        if let Some((answered, _)) = &self.server {
            text += &format!("server-evidence: {}\n", Value::try_from(answered).unwrap());
        }
        text += &format!("packets = {:?}\naccepted = {}\n", self.packets, self.accepted);
        text
    }
}

fn became(before: Option<&CachedCookie>, after: Option<&CachedCookie>) -> &'static str {
    match (before, after) {
        (_, Some(CachedCookie::None)) => "none",
        (Some(CachedCookie::None), Some(_)) => "new",
        (before, after) if before == after => "same",
        (Some(_), Some(_)) => "changed",
        _ => "unknown",
    }
}

/// Returns whether the packets are as expected, up to `...` if that is given.
fn same_packets(expected: &[String], found: &[String]) -> bool {
    match expected.split_last() {
        None => true,
        Some((last, first)) if last == "..." => found.starts_with(first),
        Some(_) => expected == found,
    }
}

/// Checks that a verdict does not rest on the addresses of the test: with others it must be the same.
fn leak(view: &str, evidence: &Evidence) -> Option<String> {
    let text = toml::to_string(evidence).unwrap();
    let other = text
        .replace("192.0.2.1]", "203.0.113.77]")
        .replace("192.0.2.2]", "10.1.2.3]")
        .replace("\"192.0.2.1\"", "\"203.0.113.77\"")
        .replace("\"192.0.2.2\"", "\"10.1.2.3\"")
        .replace("\"2001:db8::1\"", "\"fd00::77:1\"")
        .replace("\"2001:db8::2\"", "\"2a00::3\"")
        .replace("192.0.2.1:", "203.0.113.77:")
        .replace("192.0.2.2:", "10.1.2.3:")
        .replace("[2001:db8::1]", "[fd00::77:1]")
        .replace("[2001:db8::2]", "[2a00::3]")
        .replace(":2222", ":443");
    let other = judge(&toml::from_str(&other).unwrap());
    let verdict = judge(evidence);
    let same = (other.outcome, other.cause, &other.candidates, other.blame)
        == (verdict.outcome, verdict.cause, &verdict.candidates, verdict.blame);
    (!same).then(|| format!("{view}: with other addresses the verdict is {}", as_text(&other)))
}
