//! `--listen`: runs a mirror in this process, in a private network namespace if the host does not allow fast
//! open.

use std::io;
use std::net::SocketAddr;
use std::thread;

use tfo_core::host::features::{Feature, Support};
use tfo_core::host::{FastOpenFlags, sysctl};
use tfo_core::lab;
use tfo_core::probe::serve_mirror;
use tfo_core::socket::FastOpenListener;

use crate::output::{Failure, note};

/// Starts the listener. Must be called before the process starts a thread: see
/// [`lab::enter_private_network`].
pub(super) fn start(address: SocketAddr) -> Result<(), Failure> {
    listen(address).map_err(|e| cannot_listen(address, e))
}

fn cannot_listen(address: SocketAddr, source: tfo_core::Error) -> Failure {
    let advice = match source.kind() {
        io::ErrorKind::AddrInUse => {
            "if tfo-server listens there, omit --listen; else choose another port with --port"
        }
        io::ErrorKind::AddrNotAvailable => "--listen needs an address of this host",
        io::ErrorKind::PermissionDenied => "choose a port from 1024 with --port",
        _ if Feature::Listener.probe() == Support::No => {
            "this kernel has no TCP_FASTOPEN: no listener of this host can use fast open"
        }
        _ => "try another address or port",
    };
    Failure::Operation {
        what: format!("can't listen on {address}"),
        source,
        advice: advice.to_owned(),
    }
}

fn listen(address: SocketAddr) -> tfo_core::Result<()> {
    match sysctl::tcp_fastopen() {
        Ok(bits) if bits.client() && bits.server() => {}
        Ok(bits) => leave_the_host(address, bits),
        // A private namespace would have the same kernel. The probe reports the consequences.
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let listener = FastOpenListener::bind(address)?;
    thread::spawn(move || serve_mirror(&listener));
    Ok(())
}

/// Enters a private network namespace if possible, and prints a note about the result.
fn leave_the_host(address: SocketAddr, bits: FastOpenFlags) {
    let both = bits.recommended().bits();
    let enable = format!("sudo sysctl -w net.ipv4.tcp_fastopen={both}");
    let setting = format!("this host's net.ipv4.tcp_fastopen is {bits}");
    if !address.ip().is_loopback() {
        note(&format!("{setting}, so connections here won't use fast open. Enable it: {enable}"));
        return;
    }
    match lab::enter_private_network() {
        Ok(()) => note(&format!(
            "{setting}, so this runs in a private network namespace where it is 0x3; the host's settings are \
             not changed. To enable fast open on the host: {enable}"
        )),
        Err(_) => note(&format!(
            "{setting}, and a private network namespace could not be created: {}. Connections here won't use \
             fast open; enable it: {enable}",
            lab::explain_denied()
        )),
    }
}
