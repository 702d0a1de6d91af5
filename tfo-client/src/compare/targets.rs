//! Reads the file of `--targets`: one host per line, in the format of `--server`.

use std::fs;
use std::path::Path;

use tfo_core::cli::Port;

use crate::config::Target;
use crate::config::server_address::ServerAddress;

/// The maximum number of targets.
const MAX: usize = 1000;

/// Reads the targets. `port` is the default port. An error names the file, the line and the fault.
pub(super) fn read(path: &Path, port: u16) -> Result<Vec<Target>, String> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|e| format!("can't read {shown}: {e}"))?;
    let mut targets = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let address: ServerAddress =
            line.parse().map_err(|e| format!("{shown}:{number}: invalid target {line:?}: {e}"))?;
        let port = address.port().map_or(port, Port::get);
        targets.push(Target { host: address.host().to_owned(), port });
    }
    match targets.len() {
        0 => Err(format!(
            "{shown} names no target: expected one host per line, such as example.org:443"
        )),
        1..=MAX => Ok(targets),
        count => Err(format!("{shown} names {count} targets: expected at most {MAX}")),
    }
}
