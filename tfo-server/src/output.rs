//! All that the program prints; nothing else writes to standard output or standard error.

use std::{error::Error, io, net::SocketAddr, process::ExitCode};

use serde::Serialize;

use tfo_core::program::{
    logging, one_line,
    output::{Output, Reader},
};

/// Wrong usage, or bad configuration.
const USAGE: u8 = 2;

/// Prints `error: …`, one line, to standard error.
pub(crate) fn error(error: &dyn Error) {
    logging::print(&format!("error: {}", one_line(error)));
}

/// Prints what is wrong with the settings, or with a file that they name.
pub(crate) fn settings_error(found: &dyn Error) -> ExitCode {
    error(found);
    ExitCode::from(USAGE)
}

/// Prints why the program failed.
pub(crate) fn failure(found: &dyn Error) -> ExitCode {
    error(found);
    ExitCode::FAILURE
}

/// Why it can't listen, and what to do.
///
/// `setting` is what chooses the port.
pub(crate) fn cannot_listen(
    address: SocketAddr,
    setting: &str,
    found: &tfo_core::Error,
) -> ExitCode {
    let port = address.port();
    let advice = match found.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "see who listens there: ss -ltnp 'sport = :{port}'; or choose another port: {setting}"
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            "it is not an address of this host: `ip address` lists them, 0.0.0.0 or :: means all"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            let grant = "sudo setcap cap_net_bind_service=+ep \"$(command -v tfo-server)\"";
            format!("port {port} needs CAP_NET_BIND_SERVICE: {grant}; or choose a port from 1024")
        }
        _ => "`tfo-server check` says what this host lacks".to_owned(),
    };
    let message = format!("can't listen on {address}: {}. {advice}", one_line(found));
    failure(&io::Error::other(message))
}

/// `--trace` and `--pcap` may not see packets.
pub(crate) fn cannot_trace(found: &tfo_core::Error) -> ExitCode {
    let advice = match found.kind() {
        io::ErrorKind::PermissionDenied => {
            "it needs CAP_NET_RAW: run it with sudo, or grant it: sudo setcap cap_net_raw=+ep \
             \"$(command -v tfo-server)\""
        }
        _ => "leave --trace and --pcap out",
    };
    failure(&io::Error::other(format!("packets can't be traced: {}; {advice}", one_line(found))))
}

/// Prints the settings in force, so that they can be used as a file.
pub(crate) fn print_config(file: &impl Serialize) -> ExitCode {
    match toml::to_string(file) {
        Ok(text) => print_data(&text, ExitCode::SUCCESS),
        Err(found) => failure(&found),
    }
}

/// Prints data; `status` is the exit status when that worked.
pub(crate) fn print_data(text: &str, status: ExitCode) -> ExitCode {
    match Output::stdout().print(text) {
        Ok(Reader::Listening | Reader::Gone) => status,
        Err(found) => {
            let found = io::Error::new(found.kind(), format!("can't print: {found}"));
            failure(&found)
        }
    }
}

/// A document on one line, without control characters.
pub(crate) fn json(value: &impl Serialize) -> String {
    // None of our documents has a key that is no text, the one thing that can't be written.
    let text = serde_json::to_string(value).unwrap_or_default();
    // Serde escapes those below U+0020; DEL and those from U+0080 on may steer a terminal too.
    if !text.contains(char::is_control) {
        return text;
    }
    text.chars().fold(String::new(), |mut escaped, c| {
        if c.is_control() {
            escaped += &format!("\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
        escaped
    })
}
