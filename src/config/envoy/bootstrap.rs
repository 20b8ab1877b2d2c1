//! `envoy.yaml`, and what it means.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::fields::BOOTSTRAP;
use super::reader::{FieldProblem, LocatedNode, MessageReader};
use super::suite::NamedSuite;
use crate::config::{SdsSecretRef, Tls12Suite, TlsVersion, ValidationContextConfig};
use crate::diagnostics::redact::quote;
use crate::diagnostics::{Diagnostics, nearest};

/// What Envoy was told, complete and checked: every name in it has been looked up, and every field that we do not
/// honour and cannot overlook has been refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap {
    /// Where operators ask by hand.
    pub admin: Option<SocketAddr>,
    /// `node.id`, which Diego makes of the container's address and the instance.
    pub node: Option<String>,
    /// What to open, in the order of the file. Invariant: never empty, no address twice.
    pub listeners: Vec<EnvoyListener>,
    /// What was ignored and is worth a line in the log, each with its path.
    pub notes: Vec<String>,
}

/// One listening address together with the app behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvoyListener {
    /// As the file names it, or its address where it has no name.
    pub name: String,
    /// Where clients dial us.
    pub listen: SocketAddr,
    /// The name of its cluster.
    pub cluster: String,
    /// Where the app is reached: the container's address, not loopback.
    pub app: SocketAddr,
    /// How long the app has to accept.
    pub connect_timeout: Duration,
    /// ALPN protocols in order of preference; empty means that ALPN is not spoken.
    pub alpn: Vec<Vec<u8>>,
    /// The suites of TLS 1.2 in order; `None` means all that we speak. Invariant: never empty.
    pub tls12_suites: Option<Vec<Tls12Suite>>,
    /// The oldest version that is accepted.
    pub min_version: TlsVersion,
    /// The newest version that is spoken, never older than `min_version`.
    pub max_version: TlsVersion,
    /// Where the pair is.
    pub pair: SdsSecretRef,
    /// Which certificates clients may show; `None`: none is asked for.
    pub clients: Option<ValidationContextConfig>,
}

/// What a listener's cluster says.
#[derive(Clone, Copy)]
struct Cluster<'n> {
    name: &'n str,
    app: SocketAddr,
    connect_timeout: Duration,
}

/// What Envoy waits when it is not told.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl Bootstrap {
    /// The largest file that is read, in bytes: some five hundred listeners.
    pub const LARGEST: usize = 4 * 1024 * 1024;

    /// Reads the whole `text` of the file `path`.
    ///
    /// # Errors
    /// Every error in it, with the path of the field.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Diagnostics> {
        let mut reader = MessageReader::new(path);
        let tree = reader.tree(text, Self::LARGEST)?;
        let root = LocatedNode::root(&tree);
        reader.check_keys(&root, &BOOTSTRAP);
        let bootstrap = reader.bootstrap(&root);
        let (bootstrap, notes) = reader.finish(bootstrap)?;
        Ok(Self { notes, ..bootstrap })
    }
}

impl MessageReader<'_> {
    fn bootstrap(&mut self, root: &LocatedNode<'_>) -> Result<Bootstrap, FieldProblem> {
        let admin = root.along(&["admin", "address"]);
        let admin = if admin.is_absent() { Ok(None) } else { self.socket(&admin).map(Some) };
        let node = root.along(&["node", "id"]);
        let node = if node.is_absent() { Ok(None) } else { self.text(&node).map(|id| Some(id.to_owned())) };
        let listeners = self.listeners(&root.field("static_resources"));
        Ok(Bootstrap { admin: admin?, node: node?, listeners: listeners?, notes: Vec::new() })
    }

    fn listeners(&mut self, resources: &LocatedNode<'_>) -> Result<Vec<EnvoyListener>, FieldProblem> {
        let clusters: Vec<_> =
            resources.field("clusters").items().iter().map(|at| (at.field("name"), self.cluster(at))).collect();
        let mut names = HashSet::new();
        for (at, _) in &clusters {
            if let Some(name) = at.node.text()
                && !names.insert(name)
            {
                self.wrong(at, format!("{} is there twice", quote(name)), "give each cluster a name of its own");
            }
        }
        let at = resources.field("listeners");
        let read: Vec<_> = at.items().iter().map(|at| self.listener(at, &clusters)).collect();
        if read.is_empty() {
            return Err(self.wrong(&at, "expected at least one, found none", "write one for each port of the app"));
        }
        let mut addresses = HashSet::new();
        for (at, listener) in at.items().iter().zip(&read) {
            if let Ok(listener) = listener
                && listener.listen.port() != 0
                && !addresses.insert(listener.listen)
            {
                let what = format!("{} is taken by another listener", listener.listen);
                self.wrong(&at.field("address"), what, "give each listener an address of its own");
            }
        }
        read.into_iter().collect()
    }

    fn cluster<'n>(&mut self, at: &LocatedNode<'n>) -> Result<Cluster<'n>, FieldProblem> {
        let name = self.text(&at.field("name"));
        let connect_timeout = self.duration(&at.field("connect_timeout"));
        let app = self.app(at);
        Ok(Cluster { name: name?, app: app?, connect_timeout: connect_timeout?.unwrap_or(CONNECT_TIMEOUT) })
    }

    fn app(&mut self, cluster: &LocatedNode<'_>) -> Result<SocketAddr, FieldProblem> {
        let locality = self.single(&cluster.along(&["load_assignment", "endpoints"]))?;
        let endpoint = self.single(&locality.field("lb_endpoints"))?;
        let at = endpoint.along(&["endpoint", "address"]);
        let app = self.socket(&at)?;
        if app.port() == 0 {
            let at = at.along(&["socket_address", "port_value"]);
            return Err(self.wrong(&at, "nothing can be dialled at port 0", "write the app's port"));
        }
        Ok(app)
    }

    fn listener(
        &mut self,
        at: &LocatedNode<'_>,
        clusters: &[(LocatedNode<'_>, Result<Cluster<'_>, FieldProblem>)],
    ) -> Result<EnvoyListener, FieldProblem> {
        let listen = self.socket(&at.field("address"));
        let name = at.field("name");
        let name = if name.is_absent() { Ok(None) } else { self.text(&name).map(Some) };
        let chain = self.single(&at.field("filter_chains"))?;
        let cluster = self.named_cluster(&chain, clusters);

        let tls = self.tls(&chain)?;
        let common = tls.field("common_tls_context");
        let alpn = self.alpn(&common.field("alpn_protocols"));
        let params = common.field("tls_params");
        let tls12_suites = self.suites(&params.field("cipher_suites"));
        let versions = self.versions(&params);
        let pair = self.single(&common.field("tls_certificate_sds_secret_configs")).and_then(|at| self.secret(&at));
        let clients = self.clients(&tls, &common);

        let (listen, Cluster { name: cluster, app, connect_timeout }) = (listen?, cluster?);
        let (min_version, max_version) = versions?;
        Ok(EnvoyListener {
            name: name?.map_or_else(|| listen.to_string(), str::to_owned),
            listen,
            cluster: cluster.to_owned(),
            app,
            connect_timeout,
            alpn: alpn?,
            tls12_suites: tls12_suites?,
            min_version,
            max_version,
            pair: pair?,
            clients: clients?,
        })
    }

    /// Where the app is, and how long it has to accept.
    fn named_cluster<'n>(
        &mut self,
        chain: &LocatedNode<'_>,
        clusters: &[(LocatedNode<'_>, Result<Cluster<'n>, FieldProblem>)],
    ) -> Result<Cluster<'n>, FieldProblem> {
        let filter = self.single(&chain.field("filters"))?;
        let config = self.present(&filter.field("typed_config"))?;
        let at = config.field("cluster");
        let name = self.text(&at)?;
        match clusters.iter().find(|(at, _)| at.node.text() == Some(name)) {
            Some((_, Ok(cluster))) => Ok(*cluster),
            Some((_, Err(noted))) => Err(*noted),
            None => {
                let known = clusters.iter().filter_map(|(_, cluster)| Some(cluster.as_ref().ok()?.name));
                let help = match nearest(name, known) {
                    Some(known) => format!("the nearest is {}", quote(known)),
                    None => "name one of static_resources.clusters".to_owned(),
                };
                Err(self.wrong(&at, format!("no cluster is called {}", quote(name)), help))
            }
        }
    }

    fn tls<'n>(&mut self, chain: &LocatedNode<'n>) -> Result<LocatedNode<'n>, FieldProblem> {
        let at = chain.field("transport_socket");
        if at.is_absent() {
            let help = "write a DownstreamTlsContext";
            return Err(self.wrong(&at, "is missing: listeners without TLS are not supported", help));
        }
        self.present(&at.field("typed_config"))
    }

    fn present<'n>(&mut self, at: &LocatedNode<'n>) -> Result<LocatedNode<'n>, FieldProblem> {
        if at.is_absent() { Err(self.wrong(at, "is missing", "write it with its '@type'")) } else { Ok(at.clone()) }
    }

    /// Diego writes several protocols into one text: `h2,http/1.1`.
    fn alpn(&mut self, at: &LocatedNode<'_>) -> Result<Vec<Vec<u8>>, FieldProblem> {
        let mut protocols = Vec::new();
        for at in self.list(at)? {
            for protocol in self.text(&at)?.split(',') {
                // RFC 7301, section 3.1: a name has a length of one byte, and is not empty.
                if protocol.is_empty() || protocol.len() > 255 {
                    let what = format!("{} is no protocol", quote(protocol));
                    return Err(self.wrong(&at, what, "write names of 1 to 255 bytes, as in h2,http/1.1"));
                }
                if !protocols.contains(&protocol.as_bytes().to_vec()) {
                    protocols.push(protocol.as_bytes().to_vec());
                }
            }
        }
        Ok(protocols)
    }

    /// Each element is a suite, or several that the client may choose from: `[A|B]`.
    fn suites(&mut self, at: &LocatedNode<'_>) -> Result<Option<Vec<Tls12Suite>>, FieldProblem> {
        if at.is_absent() {
            return Ok(None);
        }
        let mut suites = Vec::new();
        for item in self.list(at)? {
            let text = self.text(&item)?;
            let group = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
            for name in group.unwrap_or(text).split('|') {
                match Tls12Suite::named(name) {
                    NamedSuite::Spoken(suite) if !suites.contains(&suite) => suites.push(suite),
                    NamedSuite::Spoken(_) => {}
                    NamedSuite::Weak => self.note(&item, "not spoken, and left out: no forward secrecy, or no AEAD"),
                    NamedSuite::UnknownFieldHandling => {
                        let help = match nearest(name, Tls12Suite::names()) {
                            Some(known) => format!("the nearest is {known}"),
                            None => format!("write some of {}", Tls12Suite::names().collect::<Vec<_>>().join(", ")),
                        };
                        return Err(self.wrong(&item, format!("{} is no cipher suite", quote(name)), help));
                    }
                }
            }
        }
        if suites.is_empty() {
            let help = format!("write some of {}", Tls12Suite::names().collect::<Vec<_>>().join(", "));
            return Err(self.wrong(at, "none of these suites is spoken", help));
        }
        Ok(Some(suites))
    }

    fn versions(&mut self, params: &LocatedNode<'_>) -> Result<(TlsVersion, TlsVersion), FieldProblem> {
        const MEND: &str = "write TLS_AUTO, TLSv1_2 or TLSv1_3";
        let (min, max) = (params.field("tls_minimum_protocol_version"), params.field("tls_maximum_protocol_version"));
        let oldest = match min.node.text() {
            None if min.is_absent() => Ok(TlsVersion::Tls12),
            Some("TLS_AUTO" | "TLSv1_0" | "TLSv1_1" | "TLSv1_2") => Ok(TlsVersion::Tls12),
            Some("TLSv1_3") => Ok(TlsVersion::Tls13),
            _ => Err(self.wrong(&min, "is no version", MEND)),
        };
        let newest = match max.node.text() {
            None if max.is_absent() => Ok(TlsVersion::Tls13),
            Some("TLS_AUTO" | "TLSv1_3") => Ok(TlsVersion::Tls13),
            Some("TLSv1_2") => Ok(TlsVersion::Tls12),
            _ => Err(self.wrong(&max, "is no version that is spoken", MEND)),
        };
        let (oldest, newest) = (oldest?, newest?);
        if oldest > newest {
            return Err(self.wrong(&max, "older than the minimum", "write TLS_AUTO"));
        }
        Ok((oldest, newest))
    }

    /// The roots alone ask clients for a certificate; only with `require_client_certificate` must there be one.
    fn clients(
        &mut self,
        tls: &LocatedNode<'_>,
        common: &LocatedNode<'_>,
    ) -> Result<Option<ValidationContextConfig>, FieldProblem> {
        let at = tls.field("require_client_certificate");
        let required = self.flag(&at)?;
        let context = common.field("validation_context_sds_secret_config");
        if !context.is_absent() {
            return Ok(Some(ValidationContextConfig { required, secret: self.secret(&context)? }));
        }
        if required {
            let help = "write validation_context_sds_secret_config";
            return Err(self.wrong(&at, "certificates are required, and nothing says which are trusted", help));
        }
        Ok(None)
    }

    /// A secret's name and file, the latter in one of the two forms.
    fn secret(&mut self, at: &LocatedNode<'_>) -> Result<SdsSecretRef, FieldProblem> {
        let name = self.text(&at.field("name")).map(str::to_owned);
        let config = at.field("sds_config");
        let (newer, older) = (config.along(&["path_config_source", "path"]), config.field("path"));
        let path = match (newer.is_absent(), older.is_absent()) {
            (false, true) => self.path(&newer),
            (true, false) => self.path(&older),
            (true, true) => Err(self.wrong(&config, "names no file", "write path_config_source.path")),
            (false, false) => Err(self.wrong(&config, "names a file twice", "leave path out")),
        };
        Ok(SdsSecretRef { name: name?, path: path? })
    }

    /// The elements of what must be a list, or nothing.
    fn list<'n>(&mut self, at: &LocatedNode<'n>) -> Result<Vec<LocatedNode<'n>>, FieldProblem> {
        let items = at.items();
        if items.is_empty() && !at.is_absent() {
            return Err(self.wrong(at, format!("expected a list, found {}", at.node.kind()), "begin each with -"));
        }
        Ok(items)
    }
}
