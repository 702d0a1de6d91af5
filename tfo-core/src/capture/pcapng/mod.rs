//! Writes a pcapng file of the packets as each host saw them.
//!
//! The file has two interfaces, `client` and `server`. A modification by the path is a comment on the packet.
//! Wireshark and tshark open the file.
//!
//! # References
//! - [PCAP Next Generation (pcapng) Capture File Format](https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html)

use std::io::{self, Write};

use super::{Direction, Modification, PacketPath, Sighting};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;

const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const MAJOR_VERSION: u16 = 1;
const MINOR_VERSION: u16 = 0;
const UNKNOWN_SECTION_LENGTH: u64 = u64::MAX;
const LINKTYPE_ETHERNET: u16 = 1;
const NO_SNAP_LENGTH: u32 = 0;

const OPT_END: u16 = 0;
const OPT_COMMENT: u16 = 1;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;

/// Times are in units of 10⁻⁹ s.
const NANOSECONDS: u8 = 9;
const CLIENT: u32 = 0;
const SERVER: u32 = 1;
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;
/// The size of a block's type and its length, which is written at both ends.
const BLOCK_OVERHEAD: usize = 12;

/// Writes a whole file in the order of time. A packet that was seen at both ends is written twice.
///
/// # Errors
/// What `out` reports, and [`io::ErrorKind::InvalidInput`] for a frame of 4 GiB.
pub fn write(out: &mut impl Write, packets: &[PacketPath]) -> io::Result<()> {
    let mut sightings: Vec<_> = packets.iter().flat_map(sightings).collect();
    sightings.sort_by_key(|(_, _, sighting, _)| sighting.at);
    let mut writer = Writer::new(out)?;
    for (interface, flags, sighting, modifications) in sightings {
        writer.sighting(interface, flags, sighting, modifications)?;
    }
    Ok(())
}

/// Writes a file packet by packet.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: W,
}

impl<W: Write> Writer<W> {
    /// Starts a file: writes the section header and the two interfaces.
    ///
    /// # Errors
    /// What `out` reports.
    pub fn new(mut out: W) -> io::Result<Self> {
        let mut section = Vec::new();
        section.extend(BYTE_ORDER_MAGIC.to_le_bytes());
        section.extend(MAJOR_VERSION.to_le_bytes());
        section.extend(MINOR_VERSION.to_le_bytes());
        section.extend(UNKNOWN_SECTION_LENGTH.to_le_bytes());
        option(
            &mut section,
            SHB_USERAPPL,
            concat!("tfo-core ", env!("CARGO_PKG_VERSION")).as_bytes(),
        );
        option(&mut section, OPT_END, &[]);
        block(&mut out, SECTION_HEADER, &section)?;
        for name in ["client", "server"] {
            let mut interface = Vec::new();
            interface.extend(LINKTYPE_ETHERNET.to_le_bytes());
            interface.extend([0; 2]);
            interface.extend(NO_SNAP_LENGTH.to_le_bytes());
            option(&mut interface, IF_NAME, name.as_bytes());
            option(&mut interface, IF_TSRESOL, &[NANOSECONDS]);
            option(&mut interface, OPT_END, &[]);
            block(&mut out, INTERFACE_DESCRIPTION, &interface)?;
        }
        Ok(Self { out })
    }

    /// Writes a packet: once as it was sent and once as it arrived, as far as it was seen.
    ///
    /// # Errors
    /// What the output reports, and [`io::ErrorKind::InvalidInput`] for a frame of 4 GiB.
    pub fn packet(&mut self, packet: &PacketPath) -> io::Result<()> {
        for (interface, flags, sighting, modifications) in sightings(packet) {
            self.sighting(interface, flags, sighting, modifications)?;
        }
        Ok(())
    }

    /// Flushes the output.
    ///
    /// # Errors
    /// What the output reports.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Returns the output.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn sighting(
        &mut self,
        interface: u32,
        flags: u32,
        sighting: &Sighting,
        modifications: &[Modification],
    ) -> io::Result<()> {
        let time = u64::try_from(sighting.at.as_nanos()).unwrap_or(u64::MAX);
        let length = u32::try_from(sighting.frame.len()).map_err(too_long)?;
        let mut packet = Vec::with_capacity(sighting.frame.len() + 64);
        packet.extend(interface.to_le_bytes());
        // The high half of the time comes first; each half is little-endian.
        packet.extend(time.rotate_left(32).to_le_bytes());
        packet.extend(length.to_le_bytes());
        packet.extend(length.to_le_bytes());
        packet.extend(&sighting.frame);
        pad(&mut packet);
        option(&mut packet, EPB_FLAGS, &flags.to_le_bytes());
        for modification in modifications {
            option(
                &mut packet,
                OPT_COMMENT,
                format!("{}: {}", modification.by, modification.what).as_bytes(),
            );
        }
        option(&mut packet, OPT_END, &[]);
        block(&mut self.out, ENHANCED_PACKET, &packet)
    }
}

/// Returns the interface, the direction, the packet and its modifications.
fn sightings(packet: &PacketPath) -> impl Iterator<Item = (u32, u32, &Sighting, &[Modification])> {
    let (sender, receiver) = match packet.direction {
        Direction::ToServer => (CLIENT, SERVER),
        Direction::ToClient => (SERVER, CLIENT),
    };
    let modifications = packet.modifications.as_slice();
    let sent = packet.sent.as_ref().map(|sighting| (sender, OUTBOUND, sighting, modifications));
    let arrived =
        packet.arrived.as_ref().map(|sighting| (receiver, INBOUND, sighting, modifications));
    sent.into_iter().chain(arrived)
}

fn block(out: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len() + BLOCK_OVERHEAD).map_err(too_long)?.to_le_bytes();
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&length)?;
    out.write_all(body)?;
    out.write_all(&length)
}

/// Writes an option; a value beyond 65535 bytes is cut between two characters.
fn option(block: &mut Vec<u8>, code: u16, value: &[u8]) {
    let mut end = value.len().min(usize::from(u16::MAX));
    while end < value.len() && value.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
        end -= 1;
    }
    let value = value.get(..end).unwrap_or_default();
    block.extend(code.to_le_bytes());
    block.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
    block.extend(value);
    pad(block);
}

/// Pads to a multiple of four bytes, as everything in a block must be.
fn pad(block: &mut Vec<u8>) {
    block.resize(block.len().next_multiple_of(4), 0);
}

fn too_long(_: std::num::TryFromIntError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "a frame is too long for pcapng")
}

#[cfg(test)]
mod tests;
