//! `--trace` and `--pcap`: the packets of the connections that have ended.

use std::fs::File;
use std::io::{self, BufWriter};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use tfo_core::capture::{Ladder, PacketPath, TextStyle, Trace, pcapng};
use tfo_core::cli::error_chain;
use tfo_core::cli::output::colour_allowed;
use tfo_core::cli::screen::drawing_width;
use tfo_core::cli::value::Format;

use crate::config::Settings;
use crate::output::Failure;

/// How long to wait for the last packets (FIN, ACK) of a connection after its end.
const LAST_PACKETS: Duration = Duration::from_millis(300);

/// Captures the packets of the server's connections.
pub(crate) struct Tracer {
    traces: Vec<Trace>,
    /// Draw the packets.
    draw: bool,
    style: TextStyle,
    pcap: Option<pcapng::Writer<BufWriter<File>>>,
    /// Ended connections: when, their client, and the server's address.
    ended: Vec<(Instant, SocketAddr, SocketAddr)>,
}

impl Tracer {
    /// Starts to capture the packets of the listeners, if the settings require it.
    pub(crate) fn from_settings(settings: &Settings) -> Result<Option<Self>, Failure> {
        if !settings.trace && settings.pcap.is_none() {
            return Ok(None);
        }
        let traces = settings.listeners.iter().map(|listen| Trace::start(listen.address));
        let traces = traces.collect::<Result<_, _>>().map_err(|e| cannot_trace(&e))?;
        let pcap = settings.pcap.as_deref().map(create).transpose()?;
        let draw = settings.trace && settings.output.format == Format::Text;
        let style = TextStyle::default()
            .width(drawing_width())
            .colour(colour_allowed(&io::stdout()))
            .ascii(settings.ascii);
        Ok(Some(Self { traces, draw, style, pcap, ended: Vec::new() }))
    }

    pub(super) fn ended(&mut self, client: SocketAddr, server: SocketAddr) {
        self.ended.push((Instant::now(), client, server));
    }

    /// Returns the ladders of the connections whose last packets must have arrived; with `all`, of all connections.
    pub(super) fn ladders(&mut self, all: bool) -> Vec<String> {
        let ready = |since: &Instant| all || since.elapsed() >= LAST_PACKETS;
        let (now, later) = self.ended.drain(..).partition::<Vec<_>, _>(|(since, ..)| ready(since));
        self.ended = later;
        let mut ladders = Vec::new();
        for (_, client, server) in now {
            let packets: Vec<_> =
                self.traces.iter_mut().flat_map(|trace| trace.take(client)).collect();
            self.write(&packets);
            if self.draw && !packets.is_empty() {
                let ladder = Ladder::new(client.to_string(), server.to_string());
                ladders.push(ladder.packets(&packets).to_text(self.style));
            }
        }
        ladders
    }

    /// Returns how long the last packets of ended connections may still take.
    pub(super) fn grace(&self) -> Duration {
        if self.ended.is_empty() { Duration::ZERO } else { LAST_PACKETS }
    }

    fn write(&mut self, packets: &[PacketPath]) {
        let Some(pcap) = &mut self.pcap else { return };
        let written = packets.iter().try_for_each(|packet| pcap.packet(packet));
        if let Err(e) = written.and_then(|()| pcap.flush()) {
            log::error!("can't write packets, not trying again: {e}");
            self.pcap = None;
        }
    }
}

/// Creates a file for packets.
fn create(path: &Path) -> Result<pcapng::Writer<BufWriter<File>>, Failure> {
    let writer = File::create(path).and_then(|file| pcapng::Writer::new(BufWriter::new(file)));
    writer.map_err(|e| Failure::because(format_args!("can't write {}", path.display()), &e))
}

/// Explains why packets cannot be captured.
fn cannot_trace(found: &tfo_core::Error) -> Failure {
    let advice = match found.kind() {
        io::ErrorKind::PermissionDenied => {
            "this needs CAP_NET_RAW: run with sudo, or grant it: sudo setcap cap_net_raw=+ep \
             \"$(command -v tfo-server)\""
        }
        _ => "omit --trace and --pcap",
    };
    Failure::new(format_args!("can't capture packets: {}; {advice}", error_chain(found)))
}
