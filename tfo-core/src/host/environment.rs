//! Where this process runs, and the exact command that changes a setting under `net.` there.

use std::path::Path;
use std::{env, fmt, fs};

/// The container, unit or host that this process runs in, as far as it can be detected.
///
/// Detection relies on marks: a container that hides them is taken for a host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Containment {
    /// A host, or something that looks like one.
    Host,
    /// A systemd unit of this name on a host.
    Unit(String),
    /// A container, with its maker: `docker`, `podman`, `lxc`, `systemd-nspawn`; empty if unknown.
    Container(String),
    /// A Kubernetes pod.
    Pod,
}

impl fmt::Display for Containment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Unit(name) => write!(f, "systemd unit {name}"),
            Self::Container(maker) if maker.is_empty() => f.write_str("container"),
            Self::Container(maker) => write!(f, "container ({maker})"),
            Self::Pod => f.write_str("Kubernetes pod"),
        }
    }
}

/// The environment in which this process runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RuntimeEnvironment {
    /// The container, unit or host.
    pub place: Containment,
    /// `/proc/sys` is mounted read-only: not even root can change a setting from inside.
    pub read_only: bool,
}

impl RuntimeEnvironment {
    /// A host whose settings root may change.
    pub const HOST: Self = Self { place: Containment::Host, read_only: false };

    /// Creates an environment from its parts.
    #[must_use]
    pub fn new(place: Containment, read_only: bool) -> Self {
        Self { place, read_only }
    }

    /// Detects the environment by the marks of container runtimes, Kubernetes and systemd.
    #[must_use]
    pub fn detect() -> Self {
        Self::of(Path::new("/"), |name| env::var(name).ok())
    }

    fn of(root: &Path, variable: impl Fn(&str) -> Option<String>) -> Self {
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let there = |path: &str| root.join(path).exists();
        let read_only = is_read_only(&read("proc/self/mountinfo"));
        let cgroup = read("proc/self/cgroup");
        let place = if variable("KUBERNETES_SERVICE_HOST").is_some_and(|host| !host.is_empty())
            || there("run/secrets/kubernetes.io")
            || cgroup.contains("kubepods")
        {
            Containment::Pod
        } else if there("run/.containerenv") {
            Containment::Container("podman".to_owned())
        } else if there(".dockerenv") {
            Containment::Container("docker".to_owned())
        } else if let Some(maker) = maker_of(&cgroup) {
            Containment::Container(maker.to_owned())
        } else if let Some(maker) =
            [variable("container").unwrap_or_default(), read("run/systemd/container")]
                .iter()
                .map(|maker| maker.trim())
                .find(|maker| !maker.is_empty())
        {
            Containment::Container(if maker == "oci" { String::new() } else { maker.to_owned() })
        } else if variable("INVOCATION_ID").is_some_and(|id| !id.is_empty())
            && let Some(unit) = service_of(&cgroup)
        {
            Containment::Unit(unit.to_owned())
        } else {
            Containment::Host
        };
        Self { place, read_only }
    }

    /// Returns how to set a setting of this network namespace: one step per line, with commands in backticks.
    #[must_use]
    pub fn set(&self, name: &str, value: impl fmt::Display) -> Vec<String> {
        let now = format!("`sudo sysctl -w {name}={value}`");
        let inside = format!("`sysctl -w {name}={value}` in here, as root; lost when it ends");
        let for_good =
            format!("for good: `echo '{name} = {value}' | sudo tee -a /etc/sysctl.d/50-tfo.conf`");
        let mut steps = Vec::new();
        if !self.read_only && matches!(self.place, Containment::Container(_) | Containment::Pod) {
            steps.push(inside);
        }
        match &self.place {
            Containment::Host if self.read_only => {
                steps.push(format!("/proc/sys is read-only here; from outside: {now}"));
                steps.push(for_good);
            }
            Containment::Host => steps.extend([now, for_good]),
            Containment::Unit(unit) => {
                if self.read_only {
                    steps.push("/proc/sys is read-only in this unit; from outside of it:".to_owned());
                }
                steps.extend([
                    now,
                    for_good,
                    format!(
                        "with a network of its own: `sudo systemctl edit {unit}`, [Service] \
                         `ExecStartPre=+sysctl -w {name}={value}`"
                    ),
                ]);
            }
            Containment::Container(maker) if matches!(maker.as_str(), "docker" | "podman") => {
                steps.push(format!("start it with: `{maker} run --sysctl {name}={value} …`"));
                steps.push(format!("with --network host, on the host: {now}"));
            }
            Containment::Container(_) => steps.push(format!(
                "on its host: `sudo nsenter --net=/proc/PID/ns/net sysctl -w {name}={value}`, PID being a \
                 process of the container"
            )),
            Containment::Pod => {
                steps.push(format!(
                    "in the pod's spec: `securityContext: {{sysctls: [{{name: {name}, value: \"{value}\"}}]}}`"
                ));
                if !SAFE_IN_PODS.contains(&name) {
                    steps.push(format!(
                        "and allow it on the node: `kubelet --allowed-unsafe-sysctls={name}`"
                    ));
                }
                steps.push(format!(
                    "with hostNetwork the network is the node's, and the pod's sysctls are refused: on the node, {now}"
                ));
            }
        }
        steps
    }
}

/// Settings that every pod may change without permission of its node.
const SAFE_IN_PODS: &[&str] = &["net.ipv4.tcp_syncookies"];

/// Returns the maker of the container with these control groups. With cgroup version 2 in a namespace they are just
/// `/`.
fn maker_of(cgroup: &str) -> Option<&'static str> {
    [("docker", "docker"), ("libpod", "podman"), ("containerd", "containerd"), ("lxc", "lxc")]
        .into_iter()
        .find(|(mark, _)| cgroup.lines().any(|line| in_container(line, mark)))
        .map(|(_, maker)| maker)
}

/// Returns whether a line names a container. The runtime's own service on a host, such as `docker.service`, is not
/// one.
fn in_container(line: &str, mark: &str) -> bool {
    let path = line.rsplit(':').next().unwrap_or_default();
    path.split('/').any(|part| {
        part == mark
            || part.strip_prefix(mark).is_some_and(|rest| {
                rest.starts_with(['-', '.'])
                    && !part.ends_with(".service")
                    && !part.ends_with(".socket")
            })
    })
}

/// Returns the service with these control groups.
fn service_of(cgroup: &str) -> Option<&str> {
    // A process that a user starts, such as a terminal, is not a service.
    let serves = |line: &&str| !line.contains("/user.slice");
    let mut parts = cgroup.lines().filter(serves).flat_map(|line| line.rsplit('/'));
    parts.find(|part| part.ends_with(".service"))
}

/// Returns whether the mount that covers `/proc/sys/net` is read-only: the last and longest of those above it.
fn is_read_only(mounts: &str) -> bool {
    let covers = |point: &str| {
        matches!(point, "/" | "/proc" | "/proc/sys" | "/proc/sys/net" | "/proc/sys/net/ipv4")
    };
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(4);
            let (point, options) = (fields.next()?, fields.next()?);
            covers(point).then(|| (point.len(), options.split(',').any(|option| option == "ro")))
        })
        .fold((0, false), |best, found| if found.0 >= best.0 { found } else { best })
        .1
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
23 22 0:21 / /proc rw,nosuid - proc proc rw
";

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn container_and_unit_are_detected_by_their_marks() {
        type Pairs = &'static [(&'static str, &'static str)];
        let cases: &[(Pairs, Pairs, Containment)] = &[
            (&[], &[], Containment::Host),
            (&[("run/.containerenv", "")], &[], Containment::Container("podman".into())),
            (&[(".dockerenv", "")], &[], Containment::Container("docker".into())),
            (&[(".dockerenv", "")], &[("KUBERNETES_SERVICE_HOST", "10.0.0.1")], Containment::Pod),
            (&[("proc/self/cgroup", "0::/kubepods.slice/x")], &[], Containment::Pod),
            (
                &[("proc/self/cgroup", "4:cpu:/docker/0123abcd\n")],
                &[],
                Containment::Container("docker".into()),
            ),
            (
                &[("proc/self/cgroup", "0::/system.slice/docker-0123.scope\n")],
                &[],
                Containment::Container("docker".into()),
            ),
            (&[("proc/self/cgroup", "0::/system.slice/docker.service\n")], &[], Containment::Host),
            (&[], &[("container", "lxc")], Containment::Container("lxc".into())),
            (&[], &[("container", "oci")], Containment::Container(String::new())),
            (
                &[("run/systemd/container", "systemd-nspawn\n")],
                &[],
                Containment::Container("systemd-nspawn".into()),
            ),
            (
                &[("proc/self/cgroup", "0::/system.slice/tfo-server.service\n")],
                &[("INVOCATION_ID", "0123")],
                Containment::Unit("tfo-server.service".into()),
            ),
            (
                &[(
                    "proc/self/cgroup",
                    "0::/user.slice/user-1000.slice/user@1000.service/app.slice/terminal.service\n",
                )],
                &[("INVOCATION_ID", "0123")],
                Containment::Host,
            ),
        ];
        for (files, variables, place) in cases {
            let variable = |name: &str| {
                let found = variables.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let found = RuntimeEnvironment::of(root(files).path(), variable);
            assert_eq!(found.place, *place, "{files:?} {variables:?}");
        }
    }

    #[test]
    fn read_only_proc_sys_is_detected_and_the_last_mount_counts() {
        let mount = |line: &str| is_read_only(&format!("{MOUNTS}{line}\n"));
        assert!(!is_read_only(MOUNTS));
        assert!(!is_read_only(""), "unknown is not read-only");
        assert!(mount("24 23 0:21 /sys /proc/sys ro,nosuid - proc proc rw"), "as docker does");
        assert!(!mount("24 23 0:22 / /proc/bus ro,nosuid - proc proc rw"), "it covers no setting");
        assert!(!mount(
            "24 23 0:21 /sys /proc/sys ro - proc proc rw\n25 24 0:21 /sys /proc/sys rw - proc proc rw"
        ));
    }

    #[test]
    fn each_place_has_its_exact_command() {
        let docker = || Containment::Container("docker".to_owned());
        let cases: &[(Containment, bool, &[&str])] = &[
            (
                Containment::Host,
                false,
                &[
                    "`sudo sysctl -w net.ipv4.tcp_fastopen=3`",
                    "for good: `echo 'net.ipv4.tcp_fastopen = 3' | sudo tee -a /etc/sysctl.d/50-tfo.conf`",
                ],
            ),
            (
                docker(),
                true,
                &[
                    "start it with: `docker run --sysctl net.ipv4.tcp_fastopen=3 …`",
                    "with --network host, on the host: `sudo sysctl -w net.ipv4.tcp_fastopen=3`",
                ],
            ),
            (
                Containment::Pod,
                true,
                &[
                    "in the pod's spec: `securityContext: {sysctls: [{name: net.ipv4.tcp_fastopen, value: \"3\"}]}`",
                    "and allow it on the node: `kubelet --allowed-unsafe-sysctls=net.ipv4.tcp_fastopen`",
                    "with hostNetwork the network is the node's, and the pod's sysctls are refused: on the node, \
                     `sudo sysctl -w net.ipv4.tcp_fastopen=3`",
                ],
            ),
        ];
        for (place, read_only, steps) in cases {
            let environment = RuntimeEnvironment::new(place.clone(), *read_only);
            assert_eq!(environment.set("net.ipv4.tcp_fastopen", 3), *steps, "{place}");
        }
        let inside = RuntimeEnvironment::new(docker(), false).set("net.core.somaxconn", 4096);
        assert!(inside[0].starts_with("`sysctl -w net.core.somaxconn=4096` in here"), "{inside:?}");
        let unit = RuntimeEnvironment::new(Containment::Unit("x.service".to_owned()), true);
        let steps = unit.set("net.ipv4.tcp_fastopen", 3).join("\n");
        assert!(steps.contains("systemctl edit x.service"), "{steps}");
        assert!(steps.contains("ExecStartPre=+sysctl -w net.ipv4.tcp_fastopen=3"), "{steps}");
        let pod = RuntimeEnvironment::new(Containment::Pod, true);
        let steps = pod.set("net.ipv4.tcp_syncookies", 1).join("\n");
        assert!(!steps.contains("kubelet"), "each pod may set it: {steps}");
    }
}
