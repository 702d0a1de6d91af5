//! `tfo-server top`: shows the metrics of a running server.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use tfo_core::cli::output::Pipe;
use tfo_core::cli::screen::{Screen, Wait};
use tfo_core::cli::value::Format;

use super::parse::Samples;
use super::table::table;
use crate::config::Settings;
use crate::output::{self, Failure};

const AFTER_HELP: &str = "\
Exit status: 0 ended as asked, 1 no metrics there, 2 wrong usage, or invalid configuration.

Examples:
  tfo-server top                           the server of this configuration
  tfo-server top --from 127.0.0.1:9413
  tfo-server top -o json | head -n 1";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
#[allow(rustdoc::broken_intra_doc_links, reason = "the comments are the help that users read")]
pub(crate) struct TopArguments {
    /// Address of the metrics [default: [metrics] of the configuration]
    #[arg(long, value_name = "ADDR:PORT")]
    from: Option<SocketAddr>,
}

const REFRESH: Duration = Duration::from_secs(1);
/// Maximum time for a complete answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Larger than the metrics of five thousand listeners.
const MAX_ANSWER: usize = 32 << 20;

pub(crate) fn run(settings: &Settings, arguments: &TopArguments) -> Result<ExitCode, Failure> {
    let Some(address) = arguments.from.or(settings.metrics).map(reachable) else {
        let why = "this configuration serves no metrics: add the two lines `[metrics]` and \
                   `port = 9413` to it and restart the server, or specify the address of a server's metrics: \
                   --from ADDR:PORT";
        return Err(Failure::usage(why));
    };
    let mut screen = Screen::stdout(settings.output.format == Format::Text);
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
            // A server that is restarting will be back in a moment.
            Err(e) if before.is_some() => {
                screen.show(&format!("{}; trying again\n", no_metrics(address, &e)))
            }
            Err(e) => return Err(no_metrics(address, &e)),
        };
        match shown.map_err(|e| output::cannot_print(&e))? {
            Pipe::Open if screen.refreshes() && screen.wait(REFRESH) == Wait::Over => {}
            Pipe::Open | Pipe::Closed => return Ok(ExitCode::SUCCESS),
        }
    }
}

fn no_metrics(address: SocketAddr, e: &io::Error) -> Failure {
    let advice = match e.kind() {
        io::ErrorKind::ConnectionRefused => "; is the server running with [metrics]?",
        _ => "",
    };
    Failure::new(format_args!("can't read metrics from http://{address}/metrics: {e}{advice}"))
}

/// Replaces an unspecified address by the loopback address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Requests the metrics, and waits at most [`ANSWER_TIMEOUT`] for the complete answer.
fn fetch(address: SocketAddr) -> io::Result<Samples> {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    // HTTP/1.0 has no chunked encoding; the connection ends with the answer.
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let answer = read_to_end(&stream, deadline)?;
    read(&answer)
}

/// Returns the remaining time, or an error if none is left.
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
            // The deadline decides when to give up.
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

/// Parses the samples of a complete answer.
fn read(answer: &[u8]) -> io::Result<Samples> {
    let other = || io::Error::other("the answer is not from tfo-server");
    let text = str::from_utf8(answer).map_err(|_| other())?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(other)?;
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
    if status != Some("200") {
        return Err(other());
    }
    if let Some(whole) = content_length(head).filter(|whole| *whole > body.len()) {
        let why = format!("the answer is truncated: received {} of {whole} bytes", body.len());
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
    fn answers_of_other_servers_are_refused() {
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
            assert_eq!(error, "the answer is not from tfo-server", "{answer:?}");
        }
    }

    #[test]
    fn answer_shorter_than_its_length_is_refused() {
        let body = "tfo_server_build_info{version=\"1\"} 1\n";
        let answer = |length| format!("HTTP/1.1 200 OK\r\ncontent-LENGTH: {length}\r\n\r\n{body}");
        assert!(read(answer(body.len()).as_bytes()).is_ok());
        let error = read(answer(body.len() + 1).as_bytes()).unwrap_err().to_string();
        assert_eq!(error, "the answer is truncated: received 37 of 38 bytes");
    }

    #[test]
    fn unspecified_address_is_replaced_by_the_loopback() {
        for (address, asked) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("192.0.2.1:1", "192.0.2.1:1")]
        {
            assert_eq!(reachable(address.parse().unwrap()).to_string(), asked);
        }
    }
}
