//! Compares `tfo-client load` with other clients that open a connection for each request:
//! `cargo bench -p tfo-client --bench load`.
//!
//! - `wrk` with `Connection: close`, against nginx. Target: load reaches at least 1.3 times its rate.
//! - A minimal client in C ([`client.c`](client.c)), against a minimal server ([`server.c`](server.c)). Target: load
//!   reaches at least 95 % of its rate.
//!
//! Client and server have one core each, in a separate network namespace. A round runs each client once, in random
//! order, and ratios are computed within a round. Programs that are not installed are skipped with a message.
//! Arguments after `--`: ROUNDS [default: 9] SECONDS [default: 1].

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark prints, and may panic"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tfo_core::lab::{self, Host};

const NGINX: &str = "8080";
const MINIMAL: &str = "8081";
const CONCURRENCY: &str = "32";
/// The exact bytes that `load --http /` sends.
const REQUEST: &str = concat!(
    "GET / HTTP/1.1\r\nHost: 127.0.0.1:8081\r\nUser-Agent: tfo-client/",
    env!("CARGO_PKG_VERSION"),
    "\r\nConnection: close\r\n\r\n"
);

/// A client, and the server that it connects to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Contender {
    Wrk,
    LoadAtNginx,
    C,
    Load,
    LoadReset,
}

use Contender::{C, Load, LoadAtNginx, LoadReset, Wrk};

impl Contender {
    const fn name(self) -> &'static str {
        match self {
            Wrk => "wrk, nginx",
            LoadAtNginx => "load, nginx",
            C => "C client, minimal server",
            Load => "load, minimal server",
            LoadReset => "load --reset, minimal server",
        }
    }

    const fn needs_nginx(self) -> bool {
        matches!(self, Wrk | LoadAtNginx)
    }
}

/// The ratios of rates: dividend, divisor, and target.
const RATIOS: [(Contender, Contender, &str); 3] =
    [(LoadAtNginx, Wrk, "at least 1.30"), (Load, C, "at least 0.95"), (LoadReset, C, "")];

/// The result of one run.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// Replies per second.
    rate: f64,
    /// CPU time of the client per reply, in µs.
    cpu: f64,
}

struct Bench {
    host: Host,
    folder: TempDir,
    seconds: u32,
}

fn main() {
    // Cargo adds --bench.
    let mut numbers = std::env::args().skip(1).filter_map(|word| word.parse::<u32>().ok());
    let (rounds, seconds) = (numbers.next().unwrap_or(9), numbers.next().unwrap_or(1));
    lab::allow_hosts().unwrap_or_else(|e| panic!("{e}: {}", lab::explain_denied()));
    if thread::available_parallelism().map_or(1, usize::from) == 1 {
        eprintln!("ONE CORE: client and server share it, so the rates include the work of both");
    }
    let bench = Bench::new(seconds);
    let contenders = bench.contenders();
    let _servers = bench.serve(&contenders);

    let mut results: Vec<Vec<(Contender, Run)>> = Vec::new();
    for round in 1..=rounds {
        let mut order = contenders.clone();
        shuffle(&mut order, u64::from(round));
        results
            .push(order.into_iter().map(|contender| (contender, bench.run(contender))).collect());
        eprintln!("round {round} of {rounds}");
    }

    println!("\n{CONCURRENCY} connections at once, {rounds} rounds of {seconds} s each\n");
    println!("  {:<30} {:>12} {:>16} {:>18}", "", "replies/s", "client µs each", "syscalls each");
    for contender in &contenders {
        let of = |field: fn(&Run) -> f64| spread(runs(&results, *contender).map(|run| field(&run)));
        println!(
            "  {:<30} {:>12.0} {:>16.1} {:>18}",
            contender.name(),
            of(|run| run.rate).median,
            of(|run| run.cpu).median,
            bench.syscalls(*contender)
        );
    }
    println!("\n  {:<46} {:>7}   {:<15} target", "within a round", "median", "least to most");
    for (one, other, target) in RATIOS {
        if !contenders.contains(&one) || !contenders.contains(&other) {
            continue;
        }
        let name = format!("{} : {}", one.name(), other.name().split(',').next().unwrap());
        let both = || runs(&results, one).zip(runs(&results, other));
        // Other load on the machine affects the rate more than the CPU time per reply.
        let rates = spread(both().map(|(a, b)| a.rate / b.rate));
        let costs = spread(both().map(|(a, b)| a.cpu / b.cpu));
        println!("  {name}");
        for (what, Spread { least, median, most }, target) in
            [("rate", rates, target), ("client CPU time per reply", costs, "")]
        {
            println!("    {what:<44} {median:>7.2}   {least:.2} to {most:.2}    {target}");
        }
    }
}

/// Returns the runs of one contender, in the order of the rounds.
fn runs(results: &[Vec<(Contender, Run)>], only: Contender) -> impl Iterator<Item = Run> {
    results.iter().flatten().filter(move |(contender, _)| *contender == only).map(|(_, run)| *run)
}

struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

fn spread(values: impl Iterator<Item = f64>) -> Spread {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    };
    Spread { least: values[0], median, most: *values.last().unwrap() }
}

/// Shuffles the order of a round, reproducibly.
fn shuffle(order: &mut [Contender], round: u64) {
    let mut state = round.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for last in (1..order.len()).rev() {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(last, usize::try_from((state >> 33) % (last as u64 + 1)).unwrap());
    }
}

impl Bench {
    fn new(seconds: u32) -> Self {
        let host = Host::new("bench").unwrap();
        let set = |name: &'static str, value: &'static str| {
            host.run(move || fs::write(format!("/proc/sys/net/{name}"), value)).unwrap();
        };
        // On loopback, Linux reuses a port in TIME_WAIT after a second.
        set("ipv4/ip_local_port_range", "10000 65000");
        set("core/somaxconn", "4096");
        Self { host, folder: TempDir::new().unwrap(), seconds }
    }

    fn contenders(&self) -> Vec<Contender> {
        let mut all = vec![Wrk, LoadAtNginx, C, Load, LoadReset];
        let has = |program: &str| {
            let found = on_path(program).is_some();
            if !found {
                eprintln!("SKIPPED: {program} is not installed");
            }
            found
        };
        if !has("nginx") {
            all.retain(|contender| !contender.needs_nginx());
        }
        if !has("wrk") {
            all.retain(|contender| *contender != Wrk);
        }
        if !has("cc") || !self.compile("client") || !self.compile("server") {
            all.retain(|contender| contender.needs_nginx());
        }
        assert!(!all.is_empty(), "nothing to measure against: install wrk, nginx, or cc");
        all
    }

    fn compile(&self, name: &str) -> bool {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/load").join(name);
        let mut compiler = Command::new("cc");
        compiler.args(["-O2", "-Wall", "-o"]).arg(self.path(name)).arg(source.with_extension("c"));
        let done = compiler.status().unwrap().success();
        if !done {
            eprintln!("SKIPPED: {name}.c does not compile here");
        }
        done
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the servers, on the second core.
    fn serve(&self, contenders: &[Contender]) -> Vec<Server> {
        let mut servers = Vec::new();
        if contenders.iter().any(|contender| contender.needs_nginx()) {
            let root = self.folder.path().display();
            let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|name| format!("{name}_temp_path {root}/{name};"))
                .concat();
            let config = format!(
                "user root root; worker_processes 1; pid {root}/pid; error_log stderr crit;
                 events {{ worker_connections 4096; }}
                 http {{ access_log off; {temporary} server {{
                   listen 127.0.0.1:{NGINX} fastopen=4096 backlog=4096;
                   location / {{ return 200 ok; }} }} }}"
            );
            fs::write(self.path("nginx.conf"), config).unwrap();
            let mut nginx = pinned(1, on_path("nginx").unwrap());
            nginx.arg("-c").arg(self.path("nginx.conf")).arg("-p").arg(self.folder.path());
            nginx.args(["-g", "daemon off; master_process off;"]);
            servers.push(Server(self.host.spawn(nginx).unwrap()));
        }
        if contenders.iter().any(|contender| !contender.needs_nginx()) {
            let mut minimal = pinned(1, self.path("server"));
            minimal.arg(MINIMAL);
            servers.push(Server(self.host.spawn(minimal).unwrap()));
        }
        thread::sleep(Duration::from_millis(500));
        servers
    }

    /// Returns the command of a contender.
    fn command(&self, contender: Contender, seconds: u32) -> Command {
        let text = seconds.to_string();
        let mut command = match contender {
            Wrk => {
                let mut wrk = Command::new("wrk");
                wrk.args(["-t1", "-c", CONCURRENCY, "-d", &text, "-H", "Connection: close"]);
                wrk.arg(format!("http://127.0.0.1:{NGINX}/"));
                wrk
            }
            C => {
                let mut client = Command::new(self.path("client"));
                client.args([MINIMAL, CONCURRENCY, &text, REQUEST]);
                client
            }
            LoadAtNginx | Load | LoadReset => {
                let mut load = Command::new(env!("CARGO_BIN_EXE_tfo-client"));
                let port = if contender == LoadAtNginx { NGINX } else { MINIMAL };
                load.args(["-q", "load", "-s", "127.0.0.1", "-p", port, "-o", "json"]);
                load.args(["--http", "/", "--concurrency", CONCURRENCY]);
                load.args(["--duration", &format!("{text}s")]);
                if contender == LoadReset {
                    load.arg("--reset");
                }
                load
            }
        };
        command.stderr(Stdio::inherit());
        command
    }

    fn run(&self, contender: Contender) -> Run {
        let command = self.command(contender, self.seconds);
        let before = cpu_of_children();
        let output = self.host.output(pinned_command(0, &command)).unwrap();
        let cpu = cpu_of_children() - before;
        assert!(output.status.success(), "{}: {output:?}", contender.name());
        let (replies, time) = result(contender, &String::from_utf8_lossy(&output.stdout));
        Run { rate: replies / time, cpu: cpu * 1e6 / replies }
    }

    /// Counts the system calls per reply, by strace in a separate run.
    fn syscalls(&self, contender: Contender) -> String {
        if on_path("strace").is_none() {
            return "(no strace)".to_owned();
        }
        let command = self.command(contender, 1);
        let mut strace = Command::new("strace");
        strace.args(["-f", "-c", "-U", "calls,name", "-o"]).arg(self.path("strace"));
        strace.arg(command.get_program()).args(command.get_args());
        let output = self.host.output(strace).unwrap();
        let (replies, _) = result(contender, &String::from_utf8_lossy(&output.stdout));
        let table = fs::read_to_string(self.path("strace")).unwrap();
        let total = table.lines().find(|line| line.trim_end().ends_with("total"));
        let calls: f64 = total
            .and_then(|line| line.split_whitespace().next())
            .and_then(|word| word.parse().ok())
            .unwrap_or(f64::NAN);
        format!("{:.1}", calls / replies)
    }
}

/// Parses the number of replies and the seconds from a contender's output.
fn result(contender: Contender, out: &str) -> (f64, f64) {
    let wrong = || -> f64 { panic!("{}: {out}", contender.name()) };
    match contender {
        Wrk => {
            // "  39650 requests in 3.00s, 5.45MB read"
            let line = out.lines().find(|line| line.contains(" requests in ")).unwrap();
            let words: Vec<&str> = line.split_whitespace().collect();
            let number = |text: &str| text.parse().unwrap_or_else(|_| wrong());
            (number(words[0]), number(words[3].trim_end_matches("s,")))
        }
        C => {
            let mut words = out.split_whitespace().map(|word| word.parse().unwrap());
            (words.next().unwrap_or_else(wrong), words.next().unwrap_or_else(wrong))
        }
        LoadAtNginx | Load | LoadReset => {
            let document: Value = serde_json::from_str(out).unwrap();
            let load = &document["load"];
            assert_eq!(load["connections"]["errors"], 0, "{document:#}");
            assert_eq!(load["verdicts"][0]["verdict"], "fast-open", "{document:#}");
            let replies = load["connections"]["replies"].as_f64().unwrap_or_else(wrong);
            (replies, load["elapsed_s"].as_f64().unwrap_or_else(wrong))
        }
    }
}

/// A server process, which is killed when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn pinned(core: usize, program: PathBuf) -> Command {
    pinned_command(core, &Command::new(program))
}

/// Pins a command to a core, if there are several.
fn pinned_command(core: usize, command: &Command) -> Command {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut pinned = Command::new("taskset");
    pinned.arg("-c").arg((core % cores).to_string());
    pinned.arg(command.get_program()).args(command.get_args());
    pinned.stdout(Stdio::piped());
    pinned
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Returns the CPU time of terminated children in seconds: `cutime` and `cstime`, in ticks of 10 ms.
fn cpu_of_children() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: f64 = [13, 14].iter().map(|at| fields[*at].parse::<f64>().unwrap()).sum();
    ticks / 100.0
}
