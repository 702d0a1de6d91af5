//! The hop that terminates TCP: connections that end on one of its hosts go on from the other one.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use super::Host;
use super::address::{SERVER_V4, SERVER_V6};
use super::interface::has_ipv6;
use crate::error::{Error, Result};

/// Relays connections to this port of `front`, without fast open, to the server that `back` reaches. Ends with the hosts.
pub(super) fn start(front: &Host, back: &Host, port: u16) -> Result<()> {
    let any = if has_ipv6() {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    } else {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    };
    let address = SocketAddr::new(any, port);
    let (accepted, inbox) = mpsc::channel();
    front.run(move || {
        let listener = TcpListener::bind(address).map_err(|e| Error::system("bind", address, e))?;
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                if accepted.send(client).is_err() {
                    return;
                }
            }
        });
        Ok(())
    })?;
    // Threads that are started there connect from there.
    back.run(move || thread::spawn(move || serve(&inbox, port)));
    Ok(())
}

fn serve(inbox: &Receiver<TcpStream>, port: u16) {
    for client in inbox {
        thread::spawn(move || {
            if let Err(e) = join(client, port) {
                log::debug!("the lab's proxy lost a connection: {e}");
            }
        });
    }
}

fn join(client: TcpStream, port: u16) -> io::Result<()> {
    let v4 = client.local_addr()?.ip().to_canonical().is_ipv4();
    let ip: IpAddr = if v4 { SERVER_V4.into() } else { SERVER_V6.into() };
    let server = TcpStream::connect((ip, port))?;
    let (from, to) = (client.try_clone()?, server.try_clone()?);
    let back = thread::spawn(move || copy(server, client));
    copy(from, to);
    let _ = back.join();
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        if to.write_all(buffer.get(..len).unwrap_or_default()).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
