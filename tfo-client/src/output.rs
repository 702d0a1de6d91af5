//! All that the program prints; nothing else writes to standard output or standard error.

use std::{
    error::Error,
    fmt,
    fs::File,
    io::{self, BufWriter, Write},
    net::{IpAddr, SocketAddr},
    path::Path,
    process::ExitCode,
};

use tfo_core::capture::{Crossing, pcapng};
use tfo_core::host::Capability;
use tfo_core::program::{
    SettingsError, one_line,
    output::{Output, Reader},
};

use crate::config::{self, Target};

/// Wrong usage, bad configuration, or output that can't be written.
pub(crate) const USAGE: u8 = 2;

/// Prints `error: …`, one line, to standard error.
pub(crate) fn error(error: &dyn Error) {
    // Nobody is left to be told when standard error is closed.
    let _ = writeln!(io::stderr(), "error: {}", one_line(error));
}

pub(crate) fn settings_error(found: &SettingsError) -> ExitCode {
    error(found);
    ExitCode::from(USAGE)
}

/// Prints a line that is no error, and no data either.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "note: {text}");
}

/// The target's name says no address: there will be no connection.
pub(crate) fn cannot_resolve(target: &Target, found: &io::Error, status: u8) -> ExitCode {
    let message = format!("no address for {}: {found}", target.host);
    error(&io::Error::other(message));
    ExitCode::from(status)
}

/// `--listen` can't listen.
pub(crate) fn cannot_listen(address: SocketAddr, found: &tfo_core::Error) -> ExitCode {
    let advice = match found.kind() {
        io::ErrorKind::AddrInUse => {
            "if tfo-server runs there, leave --listen out; else choose another port: --port"
        }
        io::ErrorKind::AddrNotAvailable => "with --listen the address must be this host's",
        io::ErrorKind::PermissionDenied => "choose a port from 1024: --port",
        _ => "try another address or port",
    };
    let message = format!("can't listen on {address}: {}; {advice}", one_line(found));
    error(&io::Error::other(message));
    ExitCode::from(USAGE)
}

/// `--trace` and `--pcap` may not see packets.
pub(crate) fn cannot_trace(found: &tfo_core::Error) -> ExitCode {
    let advice = match found.kind() {
        io::ErrorKind::PermissionDenied => {
            "it needs CAP_NET_RAW: run it with sudo, or grant it: sudo setcap cap_net_raw=+ep \
             \"$(command -v tfo-client)\""
        }
        _ => "leave --trace and --pcap out",
    };
    let message = format!("packets can't be traced: {}; {advice}", one_line(found));
    error(&io::Error::other(message));
    ExitCode::from(USAGE)
}

/// Writes packets for Wireshark.
pub(crate) fn write_pcap(file: &Path, packets: &[Crossing]) -> io::Result<()> {
    let mut writer = BufWriter::new(File::create(file)?);
    pcapng::write(&mut writer, packets)?;
    writer.flush()
}

/// `--fresh` may not forget.
pub(crate) fn cannot_forget(address: IpAddr, found: &tfo_core::Error) -> ExitCode {
    cannot_forget_by("--fresh", address, found)
}

/// A flag or command may not forget.
pub(crate) fn cannot_forget_by(what: &str, address: IpAddr, found: &tfo_core::Error) -> ExitCode {
    let advice = match found.kind() {
        io::ErrorKind::PermissionDenied if Capability::NetAdmin.is_effective() => format!(
            "{what} needs CAP_NET_ADMIN of the real host, which root of a user namespace has not got: \
             run it there: sudo nsenter --net=/proc/PID/ns/net tfo-client {what}"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "{what} needs CAP_NET_ADMIN: run it with sudo, or grant it: sudo setcap cap_net_admin=+ep \
             \"$(command -v tfo-client)\""
        ),
        _ => format!("leave {what} out"),
    };
    let message =
        format!("the cookie for {address} can't be forgotten: {}; {advice}", one_line(found));
    error(&io::Error::other(message));
    ExitCode::from(USAGE)
}

/// Prints what a command has to say.
pub(crate) fn data(text: impl fmt::Display) -> ExitCode {
    data_with_status(text, 0)
}

/// [`data`] with the exit status of a command that has printed it.
pub(crate) fn data_with_status(text: impl fmt::Display, status: u8) -> ExitCode {
    match Output::stdout().print(text) {
        Ok(Reader::Listening | Reader::Gone) => ExitCode::from(status),
        Err(found) => {
            error(&io::Error::new(found.kind(), format!("can't print the report: {found}")));
            ExitCode::from(USAGE)
        }
    }
}

/// Prints the settings in force, so that they can be used as a file.
pub(crate) fn print_config(file: &config::file::File) -> ExitCode {
    let text = toml::to_string(file).map_err(io::Error::other);
    match text.and_then(|text| Output::stdout().print(text)) {
        Ok(Reader::Listening | Reader::Gone) => ExitCode::SUCCESS,
        Err(found) => {
            error(&io::Error::new(found.kind(), format!("can't print the settings: {found}")));
            ExitCode::from(USAGE)
        }
    }
}

/// There is no lab: what forbids it, and how to allow it.
pub(crate) fn no_lab(found: &tfo_core::Error) -> ExitCode {
    lab_failed(&format!(
        "the lab needs network namespaces, and this process may not make them ({}): {}",
        one_line(found),
        tfo_core::lab::explain_denied()
    ))
}

pub(crate) fn lab_failed(why: &str) -> ExitCode {
    error(&io::Error::other(why.to_owned()));
    ExitCode::from(USAGE)
}

pub(crate) fn cannot_write(file: &Path, found: &io::Error) -> ExitCode {
    lab_failed(&format!("can't write {}: {found}", file.display()))
}
