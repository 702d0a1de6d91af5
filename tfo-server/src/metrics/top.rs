//! `tfo-server top`: what a running server has counted, read from its metrics.

use std::io::{self, IsTerminal, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use tfo_core::cli::output::{Output, Pipe};
use tfo_core::cli::value::Format;

use super::parse::Samples;
use super::table::table;
use crate::config::Settings;
use crate::output::{self, Failure};

#[derive(Debug, Args)]
#[allow(rustdoc::broken_intra_doc_links, reason = "the comments are the help that users read")]
pub(crate) struct TopArguments {
    /// Where the metrics are served [default: [metrics] of the configuration]
    #[arg(long, value_name = "ADDR:PORT")]
    from: Option<SocketAddr>,
}

const REFRESH: Duration = Duration::from_secs(1);
/// How long a whole answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// More than a server with five thousand listeners has to say.
const MAX_ANSWER: usize = 32 << 20;

/// The cursor to the upper left; everything behind it is cleared.
const HOME_AND_CLEAR: &str = "\x1b[H\x1b[J";

pub(crate) fn run(settings: &Settings, arguments: &TopArguments) -> Result<ExitCode, Failure> {
    let Some(address) = arguments.from.or(settings.metrics).map(reachable) else {
        let why = "this configuration serves no metrics: write the two lines `[metrics]` and \
                   `port = 9413` into it and restart the server, or say where they are served: \
                   --from ADDR:PORT";
        return Err(Failure::usage(why));
    };
    let mut screen = Screen::new(settings.output.format);
    let mut before: Option<(Samples, Instant)> = None;
    loop {
        let shown = match fetch(address) {
            Ok(samples) => {
                let now = Instant::now();
                let earlier = before.as_ref().map(|(samples, at)| (samples, now - *at));
                let shown = match settings.output.format {
                    Format::Json => screen.show(&samples.to_json()),
                    Format::Text => screen.show(&table(&samples, earlier)),
                };
                before = Some((samples, now));
                shown
            }
            // A server that restarts is back in a moment.
            Err(e) if before.is_some() => {
                screen.show(&format!("{}; trying again", no_metrics(address, &e)))
            }
            Err(e) => return Err(no_metrics(address, &e)),
        };
        match shown.map_err(|e| output::cannot_print(&e))? {
            Pipe::Open if screen.refreshes() => thread::sleep(REFRESH),
            Pipe::Open | Pipe::Closed => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// A terminal that is drawn again and again, or a file that is written once.
struct Screen {
    output: Output,
    refreshes: bool,
}

impl Screen {
    fn new(format: Format) -> Self {
        let refreshes = format == Format::Text && io::stdout().is_terminal();
        Self { output: Output::stdout(), refreshes }
    }

    /// Somebody watches.
    const fn refreshes(&self) -> bool {
        self.refreshes
    }

    /// Shows this in place of what was there.
    fn show(&mut self, text: &str) -> io::Result<Pipe> {
        let clear = if self.refreshes { HOME_AND_CLEAR } else { "" };
        let text = text.trim_end();
        self.output.print_line(format_args!("{clear}{text}"))
    }
}

fn no_metrics(address: SocketAddr, e: &io::Error) -> Failure {
    let advice = match e.kind() {
        io::ErrorKind::ConnectionRefused => ": is the server running, with [metrics] on?",
        _ => "",
    };
    Failure::new(format_args!("no metrics from http://{address}/metrics: {e}{advice}"))
}

/// Who listens on every address is asked on the loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Asks for the metrics, and waits for the whole answer no longer than [`ANSWER_TIMEOUT`].
fn fetch(address: SocketAddr) -> io::Result<Samples> {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    // HTTP/1.0 has no chunks, and ends with the connection.
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let answer = read_to_end(&stream, deadline)?;
    read(&answer)
}

/// The time that is left; an error when there is none.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        let why = format!("the answer was not complete after {ANSWER_TIMEOUT:?}");
        return Err(io::Error::new(io::ErrorKind::TimedOut, why));
    }
    Ok(left)
}

fn read_to_end(mut stream: &TcpStream, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(answer),
            Ok(len) => answer.extend_from_slice(buffer.get(..len).unwrap_or_default()),
            // The deadline tells.
            Err(e)
                if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(e) => return Err(e),
        }
        if answer.len() > MAX_ANSWER {
            let why =
                format!("the answer is truncated: it is larger than {} MiB", MAX_ANSWER >> 20);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
    }
}

/// The samples of an answer that is whole.
fn read(answer: &[u8]) -> io::Result<Samples> {
    let other = || io::Error::other("the answer is not that of a tfo-server");
    let text = str::from_utf8(answer).map_err(|_| other())?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(other)?;
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
    if status != Some("200") {
        return Err(other());
    }
    if let Some(whole) = content_length(head).filter(|whole| *whole > body.len()) {
        let why = format!("the answer is truncated: {} of {whole} bytes have come", body.len());
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
    }
    let samples = Samples::parse(body).ok_or_else(other)?;
    if samples.has("tfo_server_build_info") { Ok(samples) } else { Err(other()) }
}

fn content_length(head: &str) -> Option<usize> {
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") { value.trim().parse().ok() } else { None }
    };
    head.lines().find_map(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_another_server_is_told_from_ours() {
        let ours = "HTTP/1.1 200 OK\r\nA: b\r\n\r\ntfo_server_build_info{version=\"1\"} 1\n# EOF\n";
        assert!(read(ours.as_bytes()).is_ok());
        for answer in [
            "",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\nnode_boot_time_seconds 1\n",
            "HTTP/1.1 200 OK\r\n\r\n<html></html>",
            &ours.replace("200", "404"),
            &ours.replace("HTTP", "SSH"),
        ] {
            let error = read(answer.as_bytes()).unwrap_err().to_string();
            assert_eq!(error, "the answer is not that of a tfo-server", "{answer:?}");
        }
    }

    #[test]
    fn an_answer_shorter_than_announced_is_truncated() {
        let body = "tfo_server_build_info{version=\"1\"} 1\n";
        let answer = |length| format!("HTTP/1.1 200 OK\r\ncontent-LENGTH: {length}\r\n\r\n{body}");
        assert!(read(answer(body.len()).as_bytes()).is_ok());
        let error = read(answer(body.len() + 1).as_bytes()).unwrap_err().to_string();
        assert_eq!(error, "the answer is truncated: 37 of 38 bytes have come");
    }

    #[test]
    fn every_address_is_asked_on_the_loopback() {
        for (address, asked) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("192.0.2.1:1", "192.0.2.1:1")]
        {
            assert_eq!(reachable(address.parse().unwrap()).to_string(), asked);
        }
    }
}
