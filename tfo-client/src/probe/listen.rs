//! `--listen`: a mirror in this process, and where the host does not allow fast open, a private
//! network namespace that does.

use std::io;
use std::net::SocketAddr;
use std::thread;

use tfo_core::host::features::{Feature, Support};
use tfo_core::host::{FastOpenFlags, sysctl};
use tfo_core::lab;
use tfo_core::probe::serve_mirror;
use tfo_core::socket::FastOpenListener;

use crate::output::{Failure, note};

/// Starts the listener. Must be called before the process has a thread: see
/// [`lab::enter_private_network`].
pub(super) fn start(address: SocketAddr) -> Result<(), Failure> {
    listen(address).map_err(|e| cannot_listen(address, e))
}

fn cannot_listen(address: SocketAddr, source: tfo_core::Error) -> Failure {
    let advice = match source.kind() {
        io::ErrorKind::AddrInUse => {
            "if tfo-server runs there, leave --listen out; else choose another port: --port"
        }
        io::ErrorKind::AddrNotAvailable => "with --listen the address must be this host's",
        io::ErrorKind::PermissionDenied => "choose a port from 1024: --port",
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
        // A namespace of its own would have the same kernel. The probe tells what follows.
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let listener = FastOpenListener::bind(address)?;
    thread::spawn(move || serve_mirror(&listener));
    Ok(())
}

/// Moves into a private network namespace, if that is possible, and says so.
fn leave_the_host(address: SocketAddr, bits: FastOpenFlags) {
    let both = bits.recommended().bits();
    let enable = format!("sudo sysctl -w net.ipv4.tcp_fastopen={both}");
    let lacks = format!("this host's net.ipv4.tcp_fastopen is {bits}");
    if !address.ip().is_loopback() {
        note(&format!("{lacks}: expect no fast open here. Enable it: {enable}"));
        return;
    }
    match lab::enter_private_network() {
        Ok(()) => note(&format!(
            "{lacks}, so this runs in a private network namespace where it is 0x3; nothing of the host is \
             changed. To enable it on the host: {enable}"
        )),
        Err(_) => note(&format!(
            "{lacks}, and a private network namespace is not to be had: {}. Expect no fast open here; \
             enable it: {enable}",
            lab::explain_denied()
        )),
    }
}
