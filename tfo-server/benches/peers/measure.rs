//! The resource usage of a server and its namespace.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;
use tfo_core::lab::Host;

use crate::Result;
use crate::ground::{CLIENT_CORE, Ground, Started};

/// Number of open connections of the client: enough that the server never waits.
pub(crate) const AT_A_TIME: usize = 32;
const REPLY_BYTES: usize = 64;

/// The result of one run of the client.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Load {
    /// Transactions per second.
    pub(crate) rate: f64,
    /// All transactions, and those before the measurement started.
    pub(crate) all: f64,
    /// The share of transactions whose SYN data was acknowledged by the SYN-ACK.
    pub(crate) acked: f64,
    /// Connections that failed, or received too little.
    pub(crate) wrong: f64,
    /// Time to the first byte of the answer, in microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

pub(crate) fn load_arguments(port: u16, seconds: f64, at_a_time: usize) -> Vec<String> {
    let rest =
        [port.to_string(), seconds.to_string(), at_a_time.to_string(), REPLY_BYTES.to_string()];
    std::iter::once("load".to_owned()).chain(rest).collect()
}

impl Load {
    pub(crate) fn run(ground: &Ground, port: u16, seconds: f64) -> Result<Self> {
        Self::one_by_one(ground, port, seconds, AT_A_TIME)
    }

    /// As [`run`](Self::run), with this number of open connections.
    pub(crate) fn one_by_one(
        ground: &Ground,
        port: u16,
        seconds: f64,
        at_a_time: usize,
    ) -> Result<Self> {
        Self::from_json(&ground.client(CLIENT_CORE, &load_arguments(port, seconds, at_a_time))?)
    }

    pub(crate) fn from_json(document: &Value) -> Result<Self> {
        let transactions = number(document, "transactions")?;
        if transactions < 1.0 {
            return Err("no transaction succeeded".into());
        }
        Ok(Self {
            rate: transactions / number(document, "seconds")?,
            all: transactions + number(document, "primed")?,
            acked: number(document, "acked")? / transactions,
            wrong: number(document, "failed")? + number(document, "short")?,
            p50: number(document, "p50_us")?,
            p99: number(document, "p99_us")?,
        })
    }
}

pub(crate) fn number(document: &Value, key: &str) -> Result<f64> {
    document[key].as_f64().ok_or_else(|| format!("the client printed no {key}").into())
}

/// Returns the run time of a process's threads in microseconds: the first number of `schedstat`.
///
/// If the kernel is built without `IRQ_TIME_ACCOUNTING`, as most are, a softirq that interrupts a thread counts as that
/// thread's time. A softirq on an idle core or in ksoftirqd is not counted.
pub(crate) fn cpu_us(process: u32) -> Result<f64> {
    let mut ns = 0.0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        ns += text.split(' ').next().ok_or("an empty schedstat")?.parse::<f64>()?;
    }
    Ok(ns / 1000.0)
}

/// Returns the number of received segments. On loopback this includes each sent one, of both ends.
pub(crate) fn segments(host: &Host) -> Result<f64> {
    let text = host.run(|| fs::read_to_string("/proc/thread-self/net/snmp"))?;
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let found = names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == "InSegs");
    Ok(found.ok_or("no InSegs in /proc/net/snmp")?.1.parse()?)
}

/// Returns the bytes of memory that a process has filled itself: `Anonymous` in `smaps_rollup`. This excludes pages of
/// files, which the kernel maps and drops as it likes, and the kernel's memory for sockets.
pub(crate) fn memory(process: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    let kib = line
        .and_then(|line| line.split_whitespace().next())
        .ok_or("no Anonymous in smaps_rollup")?;
    Ok(kib.parse::<f64>()? * 1024.0)
}

/// Returns the system calls per transaction, counted by strace in a separate run: a traced server is slow, and finds
/// more connections waiting.
pub(crate) fn syscalls(ground: &Ground, server: &Started, port: u16) -> Result<f64> {
    let report = ground.folder.path().join("strace");
    let mut command = Command::new("strace");
    command
        .args(["-f", "-c", "-U", "calls,name", "-o"])
        .arg(&report)
        .args(["-p", &server.id().to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut strace = ground.host.spawn(command).map_err(|e| format!("strace: {e}"))?;
    let mut line = String::new();
    if let Some(stderr) = strace.stderr.take() {
        BufReader::new(stderr).read_line(&mut line)?;
    }
    let load = if line.contains("attached") {
        Load::run(ground, port, 0.3)
    } else {
        Err(format!("strace: {}", line.trim()).into())
    };
    Command::new("sh").args(["-c", &format!("kill -INT {} 2>/dev/null", strace.id())]).status()?;
    strace.wait()?;
    let load = load?;
    let text = fs::read_to_string(&report)?;
    let calls = text.lines().filter(|line| !line.ends_with("total"));
    let calls = calls.filter_map(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    Ok(calls.sum::<f64>() / load.all)
}
