//! A network on which a scenario runs, with a server that answers and records what it saw.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tfo_core::cookie::FastOpenKey;
use tfo_core::diagnosis::ServerEvidence;
use tfo_core::host::FastOpenFlags;
use tfo_core::lab::{Host, Middlebox, Network, PathSettings};
use tfo_core::probe::mirror::{self, Answer};
use tfo_core::probe::{Observation, Probe};
use tfo_core::socket::{Connector, FastOpenListener, Method};

use crate::scenario_file::{Changes, Scenario};
use crate::service::{self, Look, Records, Service};
use crate::support::{PORT, any_address};

pub(crate) struct Stage {
    pub(crate) network: Network,
    listeners: Vec<Arc<FastOpenListener>>,
    records: Records,
    boxes: Vec<Middlebox>,
    address: SocketAddr,
    connect_timeout: Duration,
    reply_timeout: Duration,
}

impl Stage {
    pub(crate) fn new(path: PathSettings, scenario: &Scenario, v6: bool) -> Self {
        let (servers, service) = (scenario.servers, scenario.service);
        let queue = scenario.setup.queue.unwrap_or(256);
        let network = Network::with_servers(path, servers).unwrap();
        let records = Records::default();
        let mut listeners = Vec::new();
        for server in network.servers().iter().filter(|_| service != Service::Closed) {
            let records = Arc::clone(&records);
            listeners.push(server.run(move || serve(service, queue, &records)));
        }
        let address = SocketAddr::new(Network::server_address(v6), PORT);
        let (connect_timeout, reply_timeout) = (scenario.connect_timeout, scenario.reply_timeout);
        let boxes = scenario.boxes.clone();
        let stage =
            Self { network, listeners, records, boxes, address, connect_timeout, reply_timeout };
        stage.change(&scenario.setup);
        stage
    }

    pub(crate) fn change(&self, changes: &Changes) {
        let bits = |host: &Host, bits| host.set_tcp_fastopen(FastOpenFlags::new(bits)).unwrap();
        if let Some(wanted) = changes.client_bits {
            bits(self.network.client(), wanted);
        }
        if let Some(seconds) = changes.blackhole_timeout {
            set(self.network.client(), "tcp_fastopen_blackhole_timeout_sec", seconds);
        }
        for server in self.network.servers() {
            if let Some(wanted) = changes.server_bits {
                bits(server, wanted);
            }
            if let Some(value) = changes.syncookies {
                set(server, "tcp_syncookies", value);
            }
        }
        for listener in &self.listeners {
            if let Some(queue) = changes.queue {
                listener.set_queue(queue).unwrap();
            }
            if let Some(primary) = &changes.key {
                let key = |hex: &str| FastOpenKey::from_hex(hex).unwrap();
                let backup = changes.backup.as_deref().map(key);
                listener.set_keys(&key(primary), backup.as_ref()).unwrap();
            }
        }
        if let Some(boxes) = &changes.boxes {
            self.network.set_boxes(boxes);
        }
        if changes.fill_queue {
            self.fill_queue(&self.boxes);
        }
    }

    /// Leaves a child in the listener's queue: nothing after its SYN passes.
    fn fill_queue(&self, boxes: &[Middlebox]) {
        self.network.set_boxes(&[Middlebox::SwallowAfterSynData]);
        let address = self.address;
        let connected = self.network.client().run(move || {
            Connector::default()
                .method(Method::SendTo)
                .timeout(Duration::from_millis(100))
                .connect(address, &mirror::request("swallowed", 64))
        });
        connected.expect_err("nothing comes back");
        self.network.set_boxes(boxes);
        // Consumes the change of the counters.
        let regular = self.connect(Method::Off, 64);
        assert!(!regular.answer.is_empty(), "a regular connection passes: {regular:?}");
    }

    pub(crate) fn connect(&self, method: Method, size: usize) -> Observation {
        let probe = Probe::new(self.address)
            .method(method)
            .connect_timeout(self.connect_timeout)
            .reply_timeout(self.reply_timeout)
            .until(Answer::is_complete);
        self.network.client().run(move || probe.run(&mirror::request("token", size)))
    }

    /// Returns what the server saw of the connections from this port: when it answered, and now.
    pub(crate) fn seen(&self, client_port: u16) -> Vec<(ServerEvidence, ServerEvidence)> {
        let records = self.records.lock().unwrap();
        let of_port = records.iter().filter(|record| record.evidence.source.port() == client_port);
        of_port.map(|record| (record.evidence.clone(), record.now())).collect()
    }

    /// Like [`seen`](Self::seen), but waits a little for what may still come.
    pub(crate) fn wait_for(&self, client_port: u16) -> Vec<(ServerEvidence, ServerEvidence)> {
        let end = Instant::now() + Duration::from_millis(100);
        loop {
            let seen = self.seen(client_port);
            if !seen.is_empty() || Instant::now() > end {
                return seen;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.listeners.iter().for_each(|listener| service::stop(listener));
    }
}

fn set(host: &Host, name: &'static str, value: u32) {
    host.run(move || fs::write(format!("/proc/sys/net/ipv4/{name}"), value.to_string())).unwrap();
}

fn serve(service: Service, queue: u32, records: &Records) -> Arc<FastOpenListener> {
    let listener =
        Arc::new(FastOpenListener::builder(any_address()).queue(queue).listen().unwrap());
    service::serve(&listener, service, records, Look { counters: true, forensics: None });
    listener
}
