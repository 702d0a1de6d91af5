//! `tfo-server keys`: makes, shows, converts and compares key files.

pub(crate) mod arguments;
mod report;

use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use tfo_core::cli::{error_chain, value::Format};
use tfo_core::cookie::FastOpenKey;
use tfo_core::cookie::derived::Secret;
use tfo_core::host::sockets::socket_of_inode;
use tfo_core::host::sysctl;
use tfo_core::socket::option;

use super::file::{self, ContentError, KeyReader, Pair};
use crate::output::{self, Failure};

use arguments::{
    CompareArguments, ConvertArguments, KeyForm, KeysCommand, NewArguments, ShowArguments,
};
use report::{KeyLocation, MadeFile};

/// Exit status of a comparison: the keys differ. Equals that of a failure.
const DIFFERENT: u8 = 1;
/// In bytes, of a secret that is made.
const SECRET_LENGTH: usize = 32;

pub(crate) fn run(command: &KeysCommand, format: Format) -> Result<ExitCode, Failure> {
    match command {
        KeysCommand::New(new) => make(new, format),
        KeysCommand::Show(show) => self::show(show, format),
        KeysCommand::Convert(convert) => self::convert(convert, format),
        KeysCommand::Compare(compare) => self::compare(compare, format),
    }
}

fn make(new: &NewArguments, format: Format) -> Result<ExitCode, Failure> {
    let made = if new.secret { secret() } else { key() };
    let (content, made) = made.map_err(|e| Failure::because("no random bytes", &e))?;
    file::create(&new.file, content.as_bytes()).map_err(|e| cannot_make(&new.file, &e))?;
    output::print(&report::made(&new.file, &made, format))?;
    Ok(ExitCode::SUCCESS)
}

fn key() -> Result<(String, MadeFile), getrandom::Error> {
    let mut bytes = [0; FastOpenKey::LENGTH];
    getrandom::fill(&mut bytes)?;
    let key = FastOpenKey::new(bytes);
    let name = key.fingerprint();
    let content = format!(
        "# A key of TCP Fast Open. Who knows it can forge cookies. Its fingerprint is {name}.\n{}\n",
        key.reveal_hex()
    );
    Ok((content, MadeFile::Key(name)))
}

fn secret() -> Result<(String, MadeFile), getrandom::Error> {
    let mut bytes = [0; SECRET_LENGTH];
    getrandom::fill(&mut bytes)?;
    // It has the right length, and is not zero but once in the life of many universes.
    let secret = Secret::new(&bytes).map_err(|_| getrandom::Error::UNEXPECTED)?;
    let name = secret.fingerprint();
    let content = format!(
        "# A fleet's secret, which keys of TCP Fast Open derive from. Its fingerprint is {name}.\n\
         {}\n",
        secret.reveal_hex()
    );
    Ok((content, MadeFile::Secret(name)))
}

fn show(show: &ShowArguments, format: Format) -> Result<ExitCode, Failure> {
    if let Some(address) = show.listener {
        return listener(address, show.reveal, format);
    }
    let (shown, pair) = match &show.file {
        Some(path) => (KeyLocation::File(path), Some(file::keys(path, KeyReader::Person)?)),
        None => {
            (KeyLocation::Sysctl, sysctl::tcp_fastopen_key().map_err(|e| cannot_read_sysctl(&e))?)
        }
    };
    output::print(&report::shown(&shown, pair.as_ref(), show.reveal, format))?;
    Ok(ExitCode::SUCCESS)
}

/// The keys of a listener, whose process we ask for its socket.
fn listener(address: SocketAddr, reveal: bool, format: Format) -> Result<ExitCode, Failure> {
    let listeners = tfo_core::host::listeners()?;
    let found = listeners.into_iter().find(|found| found.address == address).ok_or_else(|| {
        Failure::new(format_args!("nothing listens on {address}; `ss -ltn` lists the listeners"))
    })?;
    let socket = socket_of_inode(found.inode).map_err(|e| {
        Failure::because(
            format_args!(
                "the socket that listens on {address} can't be looked at without CAP_SYS_PTRACE: \
                 run it with sudo"
            ),
            &e,
        )
    })?;
    let socket = socket.ok_or_else(|| {
        Failure::new(format_args!(
            "the process that listens on {address} does not show its descriptors to you: run it \
             with sudo"
        ))
    })?;
    let mut keys = option::fastopen_key(socket)?.into_iter();
    let pair = keys.next().map(|primary| (primary, keys.next()));
    output::print(&report::shown(&KeyLocation::Listener(address), pair.as_ref(), reveal, format))?;
    Ok(ExitCode::SUCCESS)
}

fn convert(convert: &ConvertArguments, format: Format) -> Result<ExitCode, Failure> {
    let read = match convert.input.as_deref().filter(|path| *path != Path::new("-")) {
        Some(path) => File::open(path).and_then(file::bounded),
        None => file::bounded(io::stdin()),
    };
    let name =
        convert.input.as_ref().map_or("standard input".into(), |path| path.display().to_string());
    let bytes = read.map_err(|e| Failure::because(format_args!("can't read {name}"), &e))?;
    let pair = parse(&bytes).map_err(|e| Failure::usage(format_args!("{name}: {e}")))?;
    let content = write(&pair, convert.to);
    match &convert.into {
        None => print_raw(&content)?,
        Some(path) => {
            file::create(path, &content).map_err(|e| cannot_make(path, &e))?;
            output::print(&report::shown(&KeyLocation::File(path), Some(&pair), false, format))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints keys in the form that was asked for, which may not be text.
fn print_raw(content: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout();
    match out.write_all(content).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(output::cannot_print(&e)),
        _ => Ok(()),
    }
}

/// Keys in any form: text that reads like keys is text.
fn parse(bytes: &[u8]) -> Result<Pair, ContentError> {
    let text = std::str::from_utf8(bytes).ok();
    if let Some(pair) = text.and_then(|text| FastOpenKey::pair_from_sysctl_text(text).ok()) {
        return Ok(pair);
    }
    let failed = match file::parse_keys(bytes) {
        Ok(pair) => return Ok(pair),
        Err(e) => e,
    };
    match bytes.as_chunks::<{ FastOpenKey::LENGTH }>() {
        // A digit is missing: nobody has drawn such a key.
        ([_] | [_, _], []) if bytes.iter().copied().all(is_text_byte) => Err(failed),
        ([primary], []) => Ok((FastOpenKey::new(*primary), None)),
        ([primary, backup], []) => {
            Ok((FastOpenKey::new(*primary), Some(FastOpenKey::new(*backup))))
        }
        _ => Err(failed),
    }
}

/// Whether keys that are written as text may have this byte.
fn is_text_byte(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || byte.is_ascii_whitespace() || b"-,".contains(&byte)
}

fn write((primary, backup): &Pair, form: KeyForm) -> Vec<u8> {
    let keys = [Some(primary), backup.as_ref()].into_iter().flatten();
    match form {
        KeyForm::Hex => keys.flat_map(|key| (key.reveal_hex() + "\n").into_bytes()).collect(),
        KeyForm::Sysctl => {
            let keys: Vec<_> = keys.map(FastOpenKey::reveal_sysctl_text).collect();
            (keys.join(",") + "\n").into_bytes()
        }
        KeyForm::Raw => keys.flat_map(|key| *key.as_bytes()).collect(),
    }
}

fn compare(compare: &CompareArguments, format: Format) -> Result<ExitCode, Failure> {
    let read = |path| file::keys(path, KeyReader::Person);
    let (a, b) = (read(&compare.a)?, read(&compare.b)?);
    output::print(&report::compared((&compare.a, &a), (&compare.b, &b), format))?;
    Ok(if a == b { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) })
}

fn cannot_make(path: &Path, found: &io::Error) -> Failure {
    let advice = match found.kind() {
        io::ErrorKind::AlreadyExists => "; a file that is there is never replaced: name another",
        _ => "",
    };
    Failure::new(format_args!("can't make {}: {found}{advice}", path.display()))
}

fn cannot_read_sysctl(found: &tfo_core::Error) -> Failure {
    match found.kind() {
        io::ErrorKind::PermissionDenied => {
            let what = "the keys of this network namespace can be read by its root alone";
            Failure::because(what, found)
        }
        _ => Failure::new(error_chain(found)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_reads_back_as_the_same_keys() {
        let key = |number: u8| {
            FastOpenKey::new([number, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
        };
        for pair in [(key(1), None), (key(0xc0), Some(key(7)))] {
            for form in [KeyForm::Hex, KeyForm::Sysctl, KeyForm::Raw] {
                assert_eq!(parse(&write(&pair, form)).unwrap(), pair, "{form}");
            }
        }
    }

    #[test]
    fn text_with_a_fault_is_not_taken_for_raw_bytes() {
        let short = format!("{}\n", "deadbeef".repeat(4).split_off(1));
        assert_eq!(short.len(), 32, "as long as two raw keys");
        let error = parse(short.as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with("line 1: expected a key of 32 hex"), "{error}");
        for bytes in [&[0xde; 15][..], &[0xde; 17], &[0xde; 48], b"", b"03020100-07060504"] {
            let error = parse(bytes).unwrap_err();
            assert!(!error.to_string().contains("0302"), "{error}");
        }
    }
}
