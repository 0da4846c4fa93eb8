//! tinyproxy.conf as our settings.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;

use super::filter::{FilterType, pattern};
use super::upstream::Upstreams;
use super::{Fate, Notes};

/// Directives that mean nothing here, and why.
const DROPPED: [(&str, &str); 29] = [
    ("user", "the service file says which user the gateway is"),
    ("group", "the service file says which group the gateway has"),
    ("bind", "the system chooses the address that connections leave from"),
    ("bindsame", "the system chooses the address that connections leave from"),
    ("errorfile", "refusals are JSON, with their reason in x-fleetgate-reason"),
    ("defaulterrorfile", "refusals are JSON, with their reason in x-fleetgate-reason"),
    ("stathost", "no name is special; fleetgate spend --egress and /metrics show figures"),
    ("statfile", "no name is special; fleetgate spend --egress and /metrics show figures"),
    ("logfile", "log lines go to standard error, each tunnel has its row"),
    ("syslog", "log lines go to standard error, each tunnel has its row"),
    ("loglevel", "RUST_LOG says what is logged"),
    ("pidfile", "the service manager knows the process"),
    ("xtinyproxy", "nothing is added to what is inside a tunnel"),
    ("addheader", "nothing is added to what is inside a tunnel"),
    ("viaproxyname", "nothing is added to what is inside a tunnel"),
    ("disableviaheader", "nothing is added to what is inside a tunnel"),
    ("anonymous", "nothing is taken from what is inside a tunnel"),
    ("reversepath", "this is no reverse proxy"),
    ("reverseonly", "this is no reverse proxy"),
    ("reversemagic", "this is no reverse proxy"),
    ("reversebaseurl", "this is no reverse proxy"),
    ("startservers", "there are no spare servers"),
    ("minspareservers", "there are no spare servers"),
    ("maxspareservers", "there are no spare servers"),
    ("maxrequestsperchild", "there are no children"),
    ("basicauthrealm", "the realm is fleetgate"),
    ("filtercasesensitive", "names of hosts have no case"),
    ("ttl", "tinyproxy itself does not know it any more"),
    ("xforwardedfor", "nothing is added to what is inside a tunnel"),
];

/// What the file says, as far as it means something here.
#[derive(Default)]
struct Settings {
    port: Option<u16>,
    listen: Vec<IpAddr>,
    trust: Vec<String>,
    ports: Vec<u16>,
    all_ports_closed: bool,
    filter: Option<(String, String)>,
    filter_type: FilterType,
    filter_urls: bool,
    default_deny: bool,
    timeout: Option<u64>,
    clients: Option<u64>,
    upstreams: Upstreams,
}

/// The settings as YAML, and what became of each line.
pub(super) fn import(text: &str, name: &str, read_filter: impl Fn(&Path) -> Result<String, String>) -> (String, Notes) {
    let (mut settings, mut notes) = (Settings::default(), Notes::default());
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (directive, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let place = format!("{name}:{}", number + 1);
        let value = value.trim();
        match directive.to_ascii_lowercase().as_str() {
            // Its last word alone has quotes.
            "upstream" => settings.upstreams.take(&place, value, &mut notes),
            _ => settings.take(&place, directive, unquote(value), &mut notes),
        }
    }
    // Without a filter tinyproxy refuses nobody.
    settings.default_deny &= settings.filter.is_some();
    let mut patterns = Vec::new();
    if let Some((place, path)) = settings.filter.take() {
        if settings.filter_urls {
            notes.add(
                &place,
                "Filter",
                Fate::Dropped,
                "with FilterURLs it speaks of addresses inside tunnels, which nobody sees",
            );
        } else {
            match read_filter(Path::new(&path)) {
                Ok(filter) => patterns = settings.patterns(&path, &filter, &mut notes),
                Err(error) => notes.add(&place, "Filter", Fate::Dropped, &format!("cannot read {path}: {error}")),
            }
        }
    }
    settings.say_defaults(name, &mut notes);
    let upstreams = settings.upstreams.render(&mut notes);
    (settings.render(&patterns, &upstreams), notes)
}

fn unquote(value: &str) -> &str {
    value.strip_prefix('"').and_then(|rest| rest.split('"').next()).unwrap_or(value)
}

fn is_on(value: &str) -> bool {
    ["yes", "on"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

impl Settings {
    fn take(&mut self, place: &str, directive: &str, value: &str, notes: &mut Notes) {
        let lower = directive.to_ascii_lowercase();
        // A password must not be shown.
        let said =
            if lower == "basicauth" { directive.to_owned() } else { format!("{directive} {value}").trim().to_owned() };
        let mut note = |fate, why: &str| notes.add(place, &said, fate, why);
        let wrong = "this is no value that tinyproxy takes";
        match lower.as_str() {
            "port" => match value.parse() {
                Ok(port) => {
                    self.port = Some(port);
                    note(Fate::Taken, "");
                }
                Err(_) => note(Fate::Dropped, wrong),
            },
            "listen" => match value.parse::<IpAddr>() {
                Ok(address) if address.is_unspecified() => {
                    note(Fate::Dropped, "that is every network; name loopback, mesh or private addresses");
                }
                Ok(address) => {
                    self.listen.push(address);
                    note(Fate::Taken, "");
                }
                Err(_) => note(Fate::Dropped, "an address is needed here, not a name"),
            },
            "allow" => match value.parse::<IpNet>().or_else(|_| value.parse::<IpAddr>().map(IpNet::from)) {
                Ok(network) if network.prefix_len() == 0 => {
                    note(Fate::Dropped, "that is everyone; whom no network names shows a key");
                }
                Ok(_) => {
                    self.trust.push(value.to_owned());
                    note(Fate::Taken, "in trust: no key is asked for from there");
                }
                Err(_) => {
                    note(Fate::Dropped, "machines are known by address, key or mesh, not by names that DNS gives back");
                }
            },
            "deny" => note(
                Fate::Dropped,
                "who is in no trusted network shows a key; see that no Allow holds more than it should",
            ),
            "basicauth" => note(Fate::Changed, "give each user a virtual key; it is the password, the name is free"),
            "connectport" => match value.parse::<u16>() {
                Ok(0) => {
                    self.all_ports_closed = true;
                    note(Fate::Changed, "no tunnels: all destinations are refused");
                }
                Ok(port) => {
                    self.ports.push(port);
                    note(Fate::Taken, "");
                }
                Err(_) => note(Fate::Dropped, wrong),
            },
            "filter" => self.filter = Some((place.to_owned(), value.to_owned())),
            "filtertype" => {
                match value.to_ascii_lowercase().as_str() {
                    "bre" => self.filter_type = FilterType::Basic,
                    "ere" => self.filter_type = FilterType::Extended,
                    "fnmatch" => self.filter_type = FilterType::Fnmatch,
                    _ => return note(Fate::Dropped, wrong),
                }
                note(Fate::Taken, "");
            }
            "filterextended" => {
                if is_on(value) {
                    self.filter_type = FilterType::Extended;
                }
                note(Fate::Taken, "");
            }
            "filterurls" => {
                self.filter_urls = is_on(value);
                let why = if self.filter_urls { "nobody sees addresses inside tunnels" } else { "" };
                note(if self.filter_urls { Fate::Dropped } else { Fate::Taken }, why);
            }
            "filterdefaultdeny" => {
                self.default_deny = is_on(value);
                note(Fate::Taken, "");
            }
            "timeout" => match value.parse() {
                Ok(seconds) => {
                    self.timeout = Some(seconds).filter(|seconds| *seconds > 0);
                    note(Fate::Taken, "");
                }
                Err(_) => note(Fate::Dropped, wrong),
            },
            "maxclients" => match value.parse() {
                Ok(clients) => {
                    self.clients = Some(clients);
                    note(Fate::Taken, "tunnels at once");
                }
                Err(_) => note(Fate::Dropped, wrong),
            },
            other => match DROPPED.iter().find(|(name, _)| *name == other) {
                Some((_, why)) => note(Fate::Dropped, why),
                None => note(Fate::Dropped, "no directive that this version knows"),
            },
        }
    }

    fn patterns(&self, path: &str, filter: &str, notes: &mut Notes) -> Vec<String> {
        let mut patterns = Vec::new();
        for (number, line) in filter.lines().enumerate() {
            // tinyproxy's filters end at a space or a '#'.
            let line = line.split(['#', ' ', '\t']).next().unwrap_or_default();
            if line.is_empty() {
                continue;
            }
            let place = format!("{path}:{}", number + 1);
            match pattern(line, self.filter_type) {
                Some(pattern) => {
                    notes.add(&place, line, Fate::Taken, &format!("as {pattern}"));
                    patterns.push(pattern);
                }
                None => {
                    let open = if self.default_deny { "" } else { ", so what it refuses is open" };
                    let why = format!("no domain pattern means the same names{open}; write one by hand");
                    notes.add(&place, line, Fate::Dropped, &why);
                }
            }
        }
        patterns
    }

    /// What tinyproxy does where nothing is said, and we do otherwise.
    fn say_defaults(&self, name: &str, notes: &mut Notes) {
        if self.listen.is_empty() {
            notes.add(name, "no Listen", Fate::Changed, "loopback only, not every network; add the mesh address");
        }
        if self.ports.is_empty() && !self.all_ports_closed {
            notes.add(name, "no ConnectPort", Fate::Changed, "port 443 only, not every port");
        }
        if self.trust.is_empty() {
            notes.add(name, "no Allow", Fate::Changed, "nobody without a key, not everyone");
        }
        notes.add(
            name,
            "plain http://",
            Fate::Dropped,
            "only tunnels (CONNECT) are served; forward_proxy.plain_http: true adds port 80",
        );
    }

    fn render(&self, patterns: &[String], upstreams: &str) -> String {
        let mut yaml = String::from("fleetgate:\n  forward_proxy:\n    listen:\n");
        let port = self.port.unwrap_or(8888);
        let loopback = [IpAddr::from([127, 0, 0, 1])];
        let listen = if self.listen.is_empty() { &loopback[..] } else { &self.listen };
        // Writing to a text cannot fail.
        for address in listen {
            let _infallible = writeln!(yaml, "    - \"{}\"", std::net::SocketAddr::new(*address, port));
        }
        list(&mut yaml, "trust", &self.trust);
        yaml.push_str(upstreams);
        yaml.push_str("  egress:\n");
        let ports: Vec<String> = self.ports.iter().map(u16::to_string).collect();
        let ports = if ports.is_empty() { "443".to_owned() } else { ports.join(", ") };
        let _infallible = writeln!(yaml, "    ports: [{ports}]");
        if let Some(seconds) = self.timeout {
            let _infallible = writeln!(yaml, "    idle_timeout: {seconds}");
        }
        if let Some(clients) = self.clients {
            let _infallible = writeln!(yaml, "    max_tunnels: {clients}");
        }
        let everything = ["*".to_owned()];
        let closed = self.all_ports_closed && self.ports.is_empty();
        match (closed, self.default_deny) {
            (true, _) => list(&mut yaml, "deny", &everything),
            // A list of nothing allowed allows nothing.
            (_, true) if patterns.is_empty() => list(&mut yaml, "deny", &everything),
            (_, true) => list(&mut yaml, "allow", patterns),
            (_, false) => list(&mut yaml, "deny", patterns),
        }
        yaml
    }
}

fn list(yaml: &mut String, name: &str, texts: &[String]) {
    if texts.is_empty() {
        return;
    }
    let _infallible = writeln!(yaml, "    {name}:");
    for text in texts {
        let _infallible = writeln!(yaml, "    - \"{text}\"");
    }
}
