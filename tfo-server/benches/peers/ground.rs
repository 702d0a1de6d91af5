//! The environment of the measurements: a network namespace, two cores, the C programs, and started processes.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tfo_core::lab::{self, Host};

use crate::{Result, say};

/// The server runs on this core, and the client on the other.
pub(crate) const SERVER_CORE: &str = "0";
pub(crate) const CLIENT_CORE: &str = "1";
/// The descriptors that a server and the client need for 18,000 connections, twice that if forwarded.
const DESCRIPTORS: usize = 50_000;
const PATIENCE: Duration = Duration::from_secs(10);

/// The network namespace of the measurements. Processes that are started in it are killed with it and with this
/// process, however that ends.
pub(crate) struct Ground {
    pub(crate) host: Host,
    pub(crate) folder: TempDir,
    /// Maximum number of descriptors per process.
    pub(crate) descriptors: usize,
    steering: Option<Steering>,
}

impl Ground {
    pub(crate) fn new() -> Result<Self> {
        lab::allow_hosts().map_err(|e| format!("{e}: {}", lab::explain_denied()))?;
        let host = Host::new("bench").map_err(|e| format!("{e}: {}", lab::explain_denied()))?;
        host.run(|| {
            fs::write("/proc/sys/net/ipv4/ip_local_port_range", "1024 65535")?;
            // The ports of the servers.
            fs::write("/proc/sys/net/ipv4/ip_local_reserved_ports", "20000-20999")?;
            // Larger than the backlog of any server.
            fs::write("/proc/sys/net/core/somaxconn", "4096")
        })?;
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
        compile(&sources, folder.path())?;
        let ask =
            format!("ulimit -n {DESCRIPTORS} 2>/dev/null || ulimit -n $(ulimit -H -n); ulimit -n");
        let output = Command::new("sh").args(["-c", &ask]).output()?;
        let descriptors = String::from_utf8_lossy(&output.stdout).trim().parse()?;
        let steering = match Steering::new(&host) {
            Ok(steering) => Some(steering),
            Err(e) => {
                say(&format!(
                    "NO STEERING: can't set rps_cpus of this namespace's loopback ({e}). Loopback processes SYNs on \
                     the client's core, so the rates below show the speed of the CLIENT's core. The server's CPU \
                     time is correct. Run as root to measure rates."
                ));
                None
            }
        };
        Ok(Self { host, folder, descriptors, steering })
    }

    /// Moves loopback's softirqs to the server's core, or back to the core of the sender. Returns whether this is
    /// possible here.
    pub(crate) fn steer(&self, on: bool) -> Result<bool> {
        let Some(steering) = &self.steering else { return Ok(false) };
        fs::write(&steering.file, if on { "1" } else { "0" })?;
        Ok(true)
    }

    /// Returns a command for one of the C programs.
    pub(crate) fn built(&self, name: &str) -> Command {
        Command::new(self.folder.path().join(name))
    }

    /// Creates a configuration file with this content.
    pub(crate) fn file(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        fs::write(&path, content)?;
        Ok(path)
    }

    /// Starts a program on these cores with the maximum number of descriptors. Keeps standard error, and discards standard output.
    pub(crate) fn start(&self, name: &str, cores: &str, program: &Command) -> Result<Started> {
        let log = self.folder.path().join(format!("{}.err", name.replace(' ', "-")));
        let mut command = self.pinned(cores, program);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        Ok(Started { child: self.host.spawn(command)?, log })
    }

    /// Starts a server, and waits until it listens on `port`.
    pub(crate) fn serve(
        &self,
        name: &str,
        cores: &str,
        program: &Command,
        port: u16,
    ) -> Result<Started> {
        let mut started = self.start(name, cores, program)?;
        let end = Instant::now() + PATIENCE;
        while self.host.run(move || std::net::TcpStream::connect(("127.0.0.1", port))).is_err() {
            if started.child.try_wait()?.is_some() || Instant::now() > end {
                return Err(format!("does not listen: {}", started.last_words()).into());
            }
            sleep(Duration::from_millis(10));
        }
        Ok(started)
    }

    /// Runs the client on these cores to its end, and returns its output.
    pub(crate) fn client(&self, cores: &str, arguments: &[String]) -> Result<serde_json::Value> {
        let output = self.host.output(self.client_command(cores, arguments))?;
        if !output.status.success() {
            return Err(
                format!("the client: {}", String::from_utf8_lossy(&output.stderr).trim()).into()
            );
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Starts the client, waits for its line, and leaves it running.
    pub(crate) fn client_that_stays(&self, cores: &str, arguments: &[String]) -> Result<Started> {
        let mut command = self.client_command(cores, arguments);
        command.stdin(Stdio::piped());
        let mut started = Started { child: self.host.spawn(command)?, log: PathBuf::new() };
        let (mut line, mut errors) = (String::new(), String::new());
        if let Some(stdout) = started.child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        if line.is_empty() {
            if let Some(mut stderr) = started.child.stderr.take() {
                stderr.read_to_string(&mut errors)?;
            }
            return Err(format!("the client: {}", errors.trim()).into());
        }
        Ok(started)
    }

    pub(crate) fn client_command(&self, cores: &str, arguments: &[String]) -> Command {
        let mut client = self.built("client");
        client.args(arguments);
        let mut command = self.pinned(cores, &client);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn pinned(&self, cores: &str, program: &Command) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n \"$0\"; exec taskset -c \"$@\""]);
        command.arg(self.descriptors.to_string()).arg(cores);
        command.arg(program.get_program()).args(program.get_args());
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("TFO_") {
                command.env_remove(name);
            }
        }
        command
    }
}

/// A program that is killed on drop.
pub(crate) struct Started {
    child: Child,
    log: PathBuf,
}

impl Started {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the last line of the program's standard error.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no output").to_owned()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // Fails if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that mounts the `sysfs` of this namespace: that of the host shows the host's devices.
struct Steering {
    file: PathBuf,
    /// Closed on drop, which ends the process.
    _stdin: Option<ChildStdin>,
    _holder: Started,
}

impl Steering {
    fn new(host: &Host) -> Result<Self> {
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "sh",
            "-c",
            "mount -t sysfs none /sys && echo mounted && exec cat",
        ]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut holder = Started { child: host.spawn(command)?, log: PathBuf::new() };
        let stdin = holder.child.stdin.take();
        let mut word = [0; 7];
        let out = holder.child.stdout.as_mut().ok_or("no pipe")?;
        out.read_exact(&mut word).map_err(|_| "can't mount sysfs")?;
        let file = PathBuf::from(format!(
            "/proc/{}/root/sys/class/net/lo/queues/rx-0/rps_cpus",
            holder.id()
        ));
        fs::write(&file, "0")?;
        Ok(Self { file, _stdin: stdin, _holder: holder })
    }
}

/// Compiles the C programs.
fn compile(sources: &Path, into: &Path) -> Result<()> {
    for name in ["client", "limit"] {
        let mut command = Command::new("cc");
        command.args(["-O2", "-o"]).arg(into.join(name)).arg(sources.join(format!("{name}.c")));
        let output = command.output().map_err(|e| format!("can't start the C compiler cc: {e}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
    }
    Ok(())
}

/// Returns the path of an installed program.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&folders).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}
