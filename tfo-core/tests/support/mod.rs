//! Two hosts and the link between them, for tests that need a real kernel.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, exit};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tfo_core::host::{CounterChange, Counters, FastOpenFlags};
use tfo_core::lab::{self, Host};
use tfo_core::probe::Series;
use tfo_core::socket::{FastOpenListener, ListenerBuilder};

/// The server's address in each family.
pub(crate) const SERVERS: [IpAddr; 2] = [IpAddr::V4(lab::SERVER_V4), IpAddr::V6(lab::SERVER_V6)];

/// No test takes a tenth of this. A call that never returns must fail its test, not hang all of them.
const PATIENCE: Duration = Duration::from_secs(60);

/// A joined client and server; both may use fast open.
pub(crate) struct Net {
    pub(crate) client: Host,
    pub(crate) server: Host,
    /// What the client's connections show together.
    pub(crate) series: Arc<Mutex<Series>>,
}

impl Net {
    pub(crate) fn new() -> Self {
        thread::spawn(|| {
            thread::sleep(PATIENCE);
            // A panic would end only this thread.
            let _ = writeln!(std::io::stderr(), "no end after {PATIENCE:?}");
            exit(101);
        });
        let client = Host::new("client").expect("namespaces can be made here");
        let server = Host::new("server").expect("namespaces can be made here");
        lab::join(&client, &server).expect("hosts can be joined");
        Self { client, server, series: Arc::default() }
    }

    /// Listens on the server.
    pub(crate) fn listen(&self, builder: ListenerBuilder) -> FastOpenListener {
        self.server.run(move || builder.listen()).expect("the address is the server's")
    }

    pub(crate) fn set_client_bits(&self, bits: u32) {
        self.client.set_tcp_fastopen(FastOpenFlags::new(bits)).expect("its own setting");
    }

    pub(crate) fn set_server_bits(&self, bits: u32) {
        self.server.set_tcp_fastopen(FastOpenFlags::new(bits)).expect("its own setting");
    }

    /// Reads the counters of both hosts, to be compared later.
    pub(crate) fn counters(&self) -> Count<'_> {
        Count { net: self, client: counters(&self.client), server: counters(&self.server) }
    }
}

/// The counters of both hosts at one moment.
pub(crate) struct Count<'a> {
    net: &'a Net,
    client: Counters,
    server: Counters,
}

impl Count<'_> {
    /// Returns the change of the client's and the server's counters since then.
    pub(crate) fn change(&self) -> (CounterChange, CounterChange) {
        let client = counters(&self.net.client).since(&self.client);
        (client, counters(&self.net.server).since(&self.server))
    }
}

fn counters(host: &Host) -> Counters {
    host.run(|| Counters::read().expect("anybody may read them"))
}

/// Returns a listener on `ip`, on a port that the kernel chooses.
pub(crate) fn on(ip: IpAddr) -> ListenerBuilder {
    FastOpenListener::builder(SocketAddr::new(ip, 0))
}

/// Writes a setting under `/proc/sys/net` of this host.
pub(crate) fn set(host: &Host, name: &'static str, value: &'static str) {
    let path = format!("/proc/sys/net/{name}");
    host.run(move || std::fs::write(&path, value).unwrap_or_else(|e| panic!("{path}: {e}")));
}

/// Makes nft read these lines on `host`, after lines that create a chain for incoming packets, `i`, and one for
/// outgoing packets, `o`. A line without a command is a rule: `o drop`.
pub(crate) fn nft(host: &Host, lines: &[&str]) {
    let mut script = "add table inet t\n\
        add chain inet t i { type filter hook input priority 0; }\n\
        add chain inet t o { type filter hook output priority 0; }\n"
        .to_owned();
    for line in lines {
        let rule = line.starts_with("i ") || line.starts_with("o ");
        script += &if rule { format!("add rule inet t {line}\n") } else { format!("{line}\n") };
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("nft");
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).arg(&script);
    let output = host.output(command).expect("nft can be started");
    assert!(output.status.success(), "{script}{}", String::from_utf8_lossy(&output.stderr));
}

/// Removes all rules of this host.
pub(crate) fn nft_flush(host: &Host) {
    nft(host, &["delete table inet t"]);
}

/// Waits until the condition holds.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < PATIENCE / 2, "the condition never held: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}
