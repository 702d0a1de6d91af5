//! `tfo-server keys`: creates, shows, converts and compares key files.

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
use tfo_core::host::readiness::Finding;
use tfo_core::host::sockets::socket_of_inode;
use tfo_core::host::sysctl;
use tfo_core::socket::option;

use super::file::{self, ContentError, KeyReader, Pair};
use crate::output::{self, Failure};

use arguments::{
    CompareArguments, ConvertArguments, KeyForm, KeysCommand, NewArguments, ShowArguments,
};
use report::{KeyLocation, MadeFile};

/// Exit status of a comparison if the keys differ. Equals that of a failure.
const DIFFERENT: u8 = 1;
/// Length of a new secret, in bytes.
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
    let (content, made) = made.map_err(|e| Failure::because("can't get random bytes", &e))?;
    file::create(&new.file, content.as_bytes()).map_err(|e| cannot_create(&new.file, &e))?;
    output::print(&report::made(&new.file, &made, format))?;
    Ok(ExitCode::SUCCESS)
}

fn key() -> Result<(String, MadeFile), getrandom::Error> {
    let mut bytes = [0; FastOpenKey::LENGTH];
    getrandom::fill(&mut bytes)?;
    let key = FastOpenKey::new(bytes);
    let name = key.fingerprint();
    let content = format!(
        "# TCP Fast Open key {name} (fingerprint). Keep it secret: it allows forging cookies.\n{}\n",
        key.reveal_hex()
    );
    Ok((content, MadeFile::Key(name)))
}

fn secret() -> Result<(String, MadeFile), getrandom::Error> {
    let mut bytes = [0; SECRET_LENGTH];
    getrandom::fill(&mut bytes)?;
    // Fails only for a secret of the wrong length or of zeros, which random bytes are not.
    let secret = Secret::new(&bytes).map_err(|_| getrandom::Error::UNEXPECTED)?;
    let name = secret.fingerprint();
    let content = format!(
        "# Secret {name} (fingerprint) of a fleet, from which TCP Fast Open keys are derived. Keep it secret.\n\
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
        None => (KeyLocation::Sysctl, namespace_keys().map_err(|e| cannot_read_sysctl(&e))?),
    };
    output::print(&report::shown(&shown, pair.as_ref(), show.reveal, format))?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the keys of this network namespace. `None`: the namespace has none yet.
fn namespace_keys() -> tfo_core::Result<Option<Pair>> {
    let keys = sysctl::tcp_fastopen_key()?;
    if keys.is_none() && has_fast_open_listener() {
        // The kernel creates a key for the first such listener, unless zeros were written.
        log::warn!("{}", Finding::KeyIsZeros);
        return super::namespace_keys().map(Some);
    }
    Ok(keys)
}

/// Returns whether a listener of this network namespace has fast open.
pub(crate) fn has_fast_open_listener() -> bool {
    let listeners = tfo_core::host::listeners().unwrap_or_default();
    listeners.iter().any(|listener| listener.fast_open_queue > 0)
}

/// Shows the keys of a listener, whose socket is obtained from its process.
fn listener(address: SocketAddr, reveal: bool, format: Format) -> Result<ExitCode, Failure> {
    let listeners = tfo_core::host::listeners()?;
    let found = listeners.into_iter().find(|found| found.address == address).ok_or_else(|| {
        Failure::new(format_args!(
            "nothing listens on {address}; `tfo-client doctor` lists the listeners"
        ))
    })?;
    let socket = socket_of_inode(found.inode).map_err(|e| {
        Failure::because(
            format_args!(
                "can't inspect the socket that listens on {address} without CAP_SYS_PTRACE: run \
                 with sudo"
            ),
            &e,
        )
    })?;
    let socket = socket.ok_or_else(|| {
        Failure::new(format_args!(
            "can't access the descriptors of the process that listens on {address}: run with \
             sudo"
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
            file::create(path, &content).map_err(|e| cannot_create(path, &e))?;
            output::print(&report::shown(&KeyLocation::File(path), Some(&pair), false, format))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints keys in the requested form, which may not be text.
fn print_raw(content: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout();
    match out.write_all(content).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(output::cannot_print(&e)),
        _ => Ok(()),
    }
}

/// Parses keys in any form. Text that looks like keys is parsed as text.
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
        // A missing digit: nearly impossible in random raw keys.
        ([_] | [_, _], []) if bytes.iter().copied().all(is_text_byte) => Err(failed),
        ([primary], []) => Ok((FastOpenKey::new(*primary), None)),
        ([primary, backup], []) => {
            Ok((FastOpenKey::new(*primary), Some(FastOpenKey::new(*backup))))
        }
        _ => Err(failed),
    }
}

/// Returns whether a text form of keys may contain this byte.
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

fn cannot_create(path: &Path, found: &io::Error) -> Failure {
    let advice = match found.kind() {
        io::ErrorKind::AlreadyExists => "; an existing file is never replaced: choose another name",
        _ => "",
    };
    Failure::new(format_args!("can't create {}: {found}{advice}", path.display()))
}

fn cannot_read_sysctl(found: &tfo_core::Error) -> Failure {
    match found.kind() {
        io::ErrorKind::PermissionDenied => {
            let what = "only root may read the keys of this network namespace";
            Failure::because(what, found)
        }
        _ => Failure::new(error_chain(found)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_parsed_back_to_the_same_keys() {
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
    fn malformed_text_is_not_taken_for_raw_bytes() {
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
