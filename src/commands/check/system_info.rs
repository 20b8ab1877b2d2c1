//! Gathers the facts: reads what the kernel says about this process and its container, and dials the app.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use rustix::fs::inotify;
use rustix::fs::inotify::{CreateFlags, WatchFlags};
use rustix::process::Resource;
use socket2::{Domain, SockAddr, Socket, Type};

use super::limits::Inotify;
use super::network::{AppDialResult, NetworkCheck, PortHolder};
use crate::config::{Admin, AdminAddr, AppAddr, Config, PairFiles};
use crate::sys::{cgroup, process, socket_tables};

/// CAP_NET_BIND_SERVICE (capabilities(7)).
const BIND_LOW_PORTS: u32 = 10;

/// The machine as the kernel describes it in `/proc` and `/sys`.
pub(super) struct SystemInfo {
    root: PathBuf,
}

impl SystemInfo {
    pub(super) fn read() -> Self {
        Self { root: "/".into() }
    }

    /// A file's text; nothing where it cannot be read, as in a sandbox.
    fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }

    fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.trim().parse().ok()
    }

    pub(super) fn network(&self) -> NetworkCheck {
        let tables = ["proc/net/tcp", "proc/net/tcp6"].map(|path| self.text(path).unwrap_or_default());
        let status = self.text("proc/self/status").unwrap_or_default();
        let first = self.number("proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or(1024);
        NetworkCheck {
            listening: tables.iter().flat_map(|table| socket_tables::listening(table)).collect(),
            local: socket_tables::local_addresses(),
            first_open_port: if process::capability_in(&status, BIND_LOW_PORTS) == Some(true) {
                0
            } else {
                u16::try_from(first).unwrap_or(u16::MAX)
            },
        }
    }

    /// Who holds the socket with this inode, as far as we may look.
    pub(super) fn holder(&self, inode: u64) -> Option<PortHolder> {
        let socket = PathBuf::from(format!("socket:[{inode}]"));
        let processes = fs::read_dir(self.root.join("proc")).ok()?.flatten();
        let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let holds = |pid: &u32| {
            let descriptors = fs::read_dir(self.root.join(format!("proc/{pid}/fd"))).into_iter().flatten().flatten();
            descriptors.map(|entry| entry.path()).any(|path| fs::read_link(path).is_ok_and(|target| target == socket))
        };
        let pid = pids.find(holds)?;
        let name = self.text(format!("proc/{pid}/comm")).unwrap_or_default().trim().to_owned();
        let program = |pid: &str| fs::read_link(self.root.join(format!("proc/{pid}/exe"))).ok();
        // Another build of ours, or ours under another name.
        let ours =
            name == env!("CARGO_PKG_NAME") || program("self").is_some_and(|own| program(&pid.to_string()) == Some(own));
        Some(PortHolder { pid, name, ours })
    }

    pub(super) fn mount_points(&self) -> Vec<PathBuf> {
        mount_points(&self.text("proc/self/mountinfo").unwrap_or_default())
    }

    /// Asks for file events as a rotation would, and lets go of them.
    pub(super) fn inotify(&self, files: &PairFiles) -> Inotify {
        let cert = std::path::absolute(&files.cert).unwrap_or_else(|_| files.cert.clone());
        // Where the folder does not exist yet, those above it are watched.
        let folder = cert.ancestors().skip(1).find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
        let tried = inotify::init(CreateFlags::CLOEXEC).and_then(|instance| {
            inotify::add_watch(&instance, folder, WatchFlags::MOVED_TO | WatchFlags::ONLYDIR).map(|_| ())
        });
        Inotify {
            tried: tried.map_err(io::Error::from),
            max_user_instances: self.number("proc/sys/fs/inotify/max_user_instances"),
            max_user_watches: self.number("proc/sys/fs/inotify/max_user_watches"),
        }
    }

    /// The smallest limit of the control groups that we are in, in bytes.
    pub(super) fn memory_limit(&self) -> Option<u64> {
        let groups = self.text("proc/self/cgroup")?;
        cgroup::lowest_memory_limit(&groups, &|path| self.text(path))
    }
}

/// Whether the folder is there in which a Unix socket for `--admin` would be made.
pub(super) fn admin_folder_exists(config: &Config) -> bool {
    let Some(Admin { addr: AdminAddr::Unix(path), .. }) = &config.admin else { return false };
    path.parent().is_some_and(Path::is_dir)
}

/// The hard limit of descriptors, to which the proxy raises its own; `None` without one.
pub(super) fn descriptor_limit() -> Option<u64> {
    rustix::process::getrlimit(Resource::Nofile).maximum
}

/// Whether the platform's own variables are there.
pub(super) fn on_cloud_foundry() -> bool {
    std::env::var_os("VCAP_APPLICATION").is_some() || std::env::var_os("CF_INSTANCE_GUID").is_some()
}

/// Connects to the app, and closes at once.
pub(super) fn dial(app: &AppAddr, limit: Duration) -> AppDialResult {
    let tcp = |addr: SocketAddr| connect(Domain::for_address(addr), &addr.into(), limit);
    let connected = match app {
        AppAddr::Tcp(addr) => tcp(*addr),
        AppAddr::Localhost(port) => tcp((Ipv4Addr::LOCALHOST, *port).into())
            .or_else(|error| tcp((Ipv6Addr::LOCALHOST, *port).into()).map_err(|_| error)),
        AppAddr::Unix(path) => SockAddr::unix(path).and_then(|addr| connect(Domain::UNIX, &addr, limit)),
    };
    match connected {
        Ok(()) => AppDialResult::Accepted,
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => AppDialResult::Refused,
            // A Unix socket whose backlog is full.
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => AppDialResult::TimedOut(limit),
            io::ErrorKind::NotFound => AppDialResult::NoSocket,
            io::ErrorKind::PermissionDenied => AppDialResult::NotPermitted,
            _ => AppDialResult::Failed(error.to_string()),
        },
    }
}

fn connect(domain: Domain, addr: &SockAddr, limit: Duration) -> io::Result<()> {
    Socket::new(domain, Type::STREAM.cloexec(), None)?.connect_timeout(addr, limit)
}

/// The fifth column of `/proc/self/mountinfo`, in which blanks are written in octal (proc(5)).
fn mount_points(mountinfo: &str) -> Vec<PathBuf> {
    let plain =
        |text: &str| text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\");
    mountinfo.lines().filter_map(|line| Some(plain(line.split(' ').nth(4)?).into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    fn limit(groups: &str, files: &[(&str, &str)]) -> Option<u64> {
        cgroup::lowest_memory_limit(groups, &|path| {
            files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn the_memory_limit_is_the_smallest_on_the_way_up() {
        assert_eq!(
            limit(
                "0::/kubepods/pod1/c1\n",
                &[
                    ("sys/fs/cgroup/kubepods/pod1/c1/memory.max", "max\n"),
                    ("sys/fs/cgroup/kubepods/pod1/memory.max", "268435456\n"),
                    ("sys/fs/cgroup/kubepods/memory.max", "4294967296\n"),
                ]
            ),
            Some(268_435_456)
        );
    }

    #[test]
    fn the_first_version_of_control_groups_is_read_too() {
        let groups = "5:cpu,cpuacct:/garden/x\n4:memory:/garden/x\n0::/\n";
        assert_eq!(
            limit(groups, &[("sys/fs/cgroup/memory/garden/x/memory.limit_in_bytes", "1073741824\n")]),
            Some(1 << 30)
        );
        // The container sees its own group as the root.
        assert_eq!(limit(groups, &[("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n")]), Some(1 << 29));
        // No limit.
        assert_eq!(limit(groups, &[("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")]), None);
        assert_eq!(limit("garbage", &[]), None);
    }

    #[test]
    fn a_mount_point_may_have_blanks_in_its_name() {
        let mountinfo =
            "22 27 0:21 / /proc rw - proc proc rw\n23 27 0:21 /a /my\\040certs/tls.crt rw - ext4 /dev/vda rw\n";
        assert_eq!(mount_points(mountinfo), [PathBuf::from("/proc"), PathBuf::from("/my certs/tls.crt")]);
    }

    #[test]
    fn dialling_tells_what_became_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let limit = Duration::from_secs(5);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = AppAddr::Tcp(listener.local_addr().unwrap());
        assert_eq!(dial(&addr, limit), AppDialResult::Accepted);
        drop(listener);
        assert_eq!(dial(&addr, limit), AppDialResult::Refused);

        let path = folder.path().join("app.sock");
        assert_eq!(dial(&AppAddr::Unix(path.clone()), limit), AppDialResult::NoSocket);
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(dial(&AppAddr::Unix(path.clone()), limit), AppDialResult::Accepted);
        drop(listener);
        assert_eq!(dial(&AppAddr::Unix(path), limit), AppDialResult::Refused);
    }

    #[test]
    fn the_holder_of_a_socket_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let machine = SystemInfo::read();
        let sockets = machine.network().listening;
        let inode = sockets.iter().find(|socket| socket.addr == addr).unwrap().inode;
        let holder = machine.holder(inode).unwrap();
        assert_eq!((holder.pid, holder.ours), (std::process::id(), true));
    }
}
