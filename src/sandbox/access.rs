//! What the proxy still reaches for once it serves: folders, by what is done in them, and ports that are dialled.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

use crate::config::{
    AppAddr, Config, ForwardProxy, Host, Outbound, OutboundCa, OutboundSettings, SandboxMode, Secrets, Unlisted,
};
use crate::credentials::system_cas;
use crate::secrets::{Plan, SecretsFolder};
use crate::sys::path_steps;

/// What the kernel tells of processes and control groups: metrics, limits, who listens where.
const KERNEL: [&str; 2] = ["/proc", "/sys/fs/cgroup"];

/// What names are looked up with.
const RESOLVER: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// DNS over TCP.
const DNS: u16 = 53;

/// Entries of a folder of CAs whose symlinks are followed: more are in none.
const MAX_ENTRIES: usize = 4096;

/// What is done below a folder, from the least to the most; each has the ones before it but for [`FolderAccess::Unlink`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FolderAccess {
    /// The path is that of a file, which is read.
    ReadFile,
    /// A socket file of ours is removed.
    Unlink,
    /// Files are read, and listed.
    Read,
    /// Files are replaced as well.
    Write,
    /// Folders are made and removed as well.
    WriteTree,
}

/// Folders and ports that are needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    folders: BTreeMap<PathBuf, BTreeSet<FolderAccess>>,
    /// Paths that lead through no folder yet, for which all of the file system may be read or written to.
    wide: Vec<PathBuf>,
    /// `None`: any.
    tcp: Option<BTreeSet<u16>>,
}

impl Access {
    /// What `config` needs, whose apps are at `apps` by now, and whose environment `plan` has been made of. Files and folders
    /// are taken where they lead to now; nothing is looked at where there is no sandbox.
    pub fn of<'a>(config: &Config, apps: impl Iterator<Item = &'a AppAddr>, plan: Option<&Plan>) -> Self {
        let mut access = Self::default();
        if config.sandbox == SandboxMode::Off {
            return access;
        }
        for path in KERNEL {
            access.allow(Path::new(path), FolderAccess::Read);
        }
        access.files(config, plan);
        access.tcp = ports(config, apps);
        access
    }

    /// Folders, or files, with what is done there.
    pub(super) fn folders(&self) -> impl Iterator<Item = (&Path, FolderAccess)> {
        self.folders.iter().flat_map(|(path, done)| done.iter().map(|access| (path.as_path(), *access)))
    }

    /// The ports that are dialled; `None`: any.
    pub(super) fn tcp_ports(&self) -> Option<&BTreeSet<u16>> {
        self.tcp.as_ref()
    }

    /// Paths of the configuration for which the whole file system had to be left open, as no folder of theirs is there yet.
    pub fn wide(&self) -> &[PathBuf] {
        &self.wide
    }

    fn files(&mut self, config: &Config, plan: Option<&Plan>) {
        for (_, path) in config.files_read() {
            self.read(path);
        }
        for (_, path) in config.socket_files() {
            self.in_folder_of(path, FolderAccess::Unlink);
        }
        for path in config.app_files.paths() {
            self.in_folder_of(path, FolderAccess::Write);
        }
        if let Some(endpoint) = config.identity_endpoint.as_ref().filter(|endpoint| endpoint.is_on_tcp()) {
            match &endpoint.token_file {
                Some(path) => self.in_folder_of(path, FolderAccess::Write),
                // A folder of ours in there, which is made again where somebody has removed it.
                None => self.allow(&std::env::temp_dir(), FolderAccess::WriteTree),
            }
        }
        if let Some(secrets) = &config.secrets {
            self.secrets(secrets, plan);
        }
        if config.listeners.iter().any(|listener| listener.plaintext.is_some()) {
            self.read(Path::new(crate::config::PLATFORM_PAIR));
        }
        let settings = dialled(config);
        if settings.iter().any(|settings| settings.ca.contains(&OutboundCa::System)) {
            self.system_cas();
        }
        if config.secrets.is_some() || config.forward_proxy.is_some() || names_somebody(config) {
            RESOLVER.iter().for_each(|path| self.read(Path::new(path)));
        }
    }

    fn secrets(&mut self, secrets: &Secrets, plan: Option<&Plan>) {
        let credhub = secrets.credhub.ca.iter().chain(&secrets.credhub.platform_cas);
        let vault = secrets.vault.iter().flat_map(|vault| vault.ca.iter().chain(&vault.platform_cas));
        credhub.chain(vault).for_each(|path| self.read(path));
        self.system_cas();
        plan.into_iter().flat_map(Plan::files).for_each(|path| self.read(path));
        if let Some(place) = SecretsFolder::place(secrets.dir.as_deref()) {
            self.allow(&place, FolderAccess::WriteTree);
        }
    }

    fn system_cas(&mut self) {
        if let Some(path) = system_cas() {
            self.read(&path);
        }
    }

    /// The file or folder at `path` is read, wherever symlinks lead, and whatever takes its place in the folders that the path leads through.
    fn read(&mut self, path: &Path) {
        let (steps, end) = path_steps::resolve(path);
        if is_mounted_file(&end) {
            // Nothing can take its place.
            return self.allow(&end, FolderAccess::ReadFile);
        }
        for step in steps.iter().filter(|step| step.is_last && step.folder != Path::new("/")) {
            self.allow(&step.folder, FolderAccess::Read);
        }
        match fs::metadata(&end) {
            Ok(found) if found.is_dir() => {
                self.allow(&end, FolderAccess::Read);
                self.entries_of(&end);
            }
            Ok(_) if end.parent() == Some(Path::new("/")) => self.allow(&end, FolderAccess::ReadFile),
            Ok(_) => {}
            Err(_) if end.parent() == Some(Path::new("/")) => self.allow(&end, FolderAccess::Read),
            Err(_) => {}
        }
    }

    /// The entries of a folder of CAs may be symlinks, as those that systems come with are.
    fn entries_of(&mut self, folder: &Path) {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten().take(MAX_ENTRIES);
        let links = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
        let targets: BTreeSet<PathBuf> = links
            .flat_map(|entry| path_steps::resolve(&entry.path()).0)
            .filter(|step| step.is_last && step.folder != Path::new("/"))
            .map(|step| step.folder)
            .collect();
        for target in targets {
            self.allow(&target, FolderAccess::Read);
        }
    }

    fn in_folder_of(&mut self, path: &Path, access: FolderAccess) {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let folder = path.parent().unwrap_or(Path::new("/"));
        self.allow(folder, access);
    }

    /// `path`, or the nearest folder above it that is there.
    fn allow(&mut self, path: &Path, access: FolderAccess) {
        if KERNEL.iter().any(|kernel| Path::new(kernel) == path) && !path.exists() {
            return;
        }
        let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        if there == Path::new("/") {
            self.wide.push(path.to_owned());
        }
        self.folders.entry(there.to_owned()).or_default().insert(access);
    }
}

/// Whether `path` is a file on which something is mounted, as containers have `/etc/resolv.conf`.
fn is_mounted_file(path: &Path) -> bool {
    path.is_file()
        && statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE)
            .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// How servers are dialled, each way that there is.
fn dialled(config: &Config) -> Vec<&OutboundSettings> {
    let proxied = config.forward_proxy.iter().flat_map(|proxy| proxy.listed.iter().map(|listed| &listed.settings));
    config.outbounds.iter().map(|outbound| &outbound.settings).chain(proxied).collect()
}

fn names_somebody(config: &Config) -> bool {
    config.outbounds.iter().any(|outbound| {
        let is_name = |host: &Host| matches!(host, Host::Name(_));
        outbound.to.iter().any(|target| is_name(&target.host))
            || outbound.settings.proxy.as_ref().is_some_and(|proxy| is_name(&proxy.host))
    })
}

/// The ports that are dialled; `None` where the app names them.
fn ports<'a>(config: &Config, apps: impl Iterator<Item = &'a AppAddr>) -> Option<BTreeSet<u16>> {
    let mut ports: BTreeSet<u16> = apps.flat_map(AppAddr::tcp).map(|addr| addr.port()).collect();
    for Outbound { to, settings, .. } in &config.outbounds {
        ports.extend(to.iter().map(|target| target.port));
        ports.extend(settings.proxy.iter().map(|proxy| proxy.port));
    }
    if let Some(ForwardProxy { listed, unlisted, .. }) = &config.forward_proxy {
        if *unlisted == Unlisted::Tunnel {
            return None;
        }
        ports.extend(listed.iter().map(|listed| listed.port));
        ports.extend(listed.iter().filter_map(|listed| Some(listed.settings.proxy.as_ref()?.port)));
    }
    if let Some(secrets) = &config.secrets {
        let vault = secrets.vault.as_ref().map(|vault| &vault.url);
        ports.extend(secrets.credhub.url.iter().chain(vault).map(|url| url.server.port));
    }
    if config.secrets.is_some() || config.forward_proxy.is_some() || names_somebody(config) {
        ports.insert(DNS);
    }
    Some(ports)
}
