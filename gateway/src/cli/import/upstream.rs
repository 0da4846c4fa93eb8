//! tinyproxy's `Upstream` lines, of which the last that fits wins, as ours, of which the closest does.

use std::fmt::Write as _;

use fleetgate_wire::authority::Authority;
use fleetgate_wire::domain::DomainPattern;

use super::{Fate, Notes};

/// The lines so far.
#[derive(Debug, Default)]
pub(super) struct Upstreams(Vec<Upstream>);

#[derive(Debug)]
struct Upstream {
    place: String,
    said: String,
    /// As in our settings; `direct` for none.
    proxy: String,
    has_credentials: bool,
    site: Site,
}

/// Which destinations a line speaks of.
#[derive(Debug, PartialEq, Eq)]
enum Site {
    /// All for which no other line speaks.
    Rest,
    Name(String),
    /// Those below a name, not the name itself.
    Below(String),
}

impl Site {
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Below(above), Self::Name(name) | Self::Below(name)) => {
                self == other || name.strip_suffix(above.as_str()).is_some_and(|rest| rest.ends_with('.'))
            }
            _ => self == other,
        }
    }

    fn pattern(&self) -> String {
        match self {
            Self::Rest => "*".to_owned(),
            Self::Name(name) => name.clone(),
            Self::Below(name) => format!("*.{name}"),
        }
    }
}

impl Upstreams {
    /// Takes a line's value, or notes why not.
    pub(super) fn take(&mut self, place: &str, value: &str, notes: &mut Notes) {
        match read(value) {
            Ok((said, proxy, has_credentials, site)) => {
                let said = format!("Upstream {said}");
                if site == Site::Rest && self.0.iter().any(|known| known.site == Site::Rest) {
                    notes.add(place, &said, Fate::Dropped, "tinyproxy as well keeps the first line for everything");
                    return;
                }
                self.0.push(Upstream { place: place.to_owned(), said, proxy, has_credentials, site });
            }
            // The value may hold a password.
            Err(why) => notes.add(place, "Upstream", Fate::Dropped, why),
        }
    }

    /// The settings, and what became of each line.
    pub(super) fn render(&self, notes: &mut Notes) -> String {
        let mut yaml = String::new();
        let mut variables = 0;
        for (number, line) in self.0.iter().enumerate() {
            if let Some(later) = self.0[number + 1..].iter().find(|later| later.site.covers(&line.site)) {
                let why = format!("{} speaks of the same destinations, and the last line wins", later.place);
                notes.add(&line.place, &line.said, Fate::Dropped, &why);
                continue;
            }
            if yaml.is_empty() {
                yaml.push_str("    upstream:\n");
            }
            let mut proxy = line.proxy.clone();
            if line.has_credentials {
                variables += 1;
                proxy = format!("os.environ/NEXT_PROXY_{variables}");
                let why = format!(
                    "set the variable NEXT_PROXY_{variables} to {}, with its user and password",
                    line.proxy.replacen("://", "://USER:PASSWORD@", 1)
                );
                notes.add(&line.place, &line.said, Fate::Changed, &why);
            } else {
                let why =
                    if line.proxy == "direct" { "" } else { "names are resolved here, and their addresses judged" };
                notes.add(&line.place, &line.said, Fate::Taken, why);
            }
            // Writing to a text cannot fail.
            let _infallible = writeln!(yaml, "    - proxy: \"{proxy}\"");
            if line.site != Site::Rest {
                let _infallible = writeln!(yaml, "      domains: [\"{}\"]", line.site.pattern());
            }
        }
        yaml
    }
}

/// What may be shown of a line, its proxy, whether it has credentials, and its destinations.
fn read(value: &str) -> Result<(String, String, bool, Site), &'static str> {
    const WRONG: &str = "this is no value that tinyproxy takes";
    let mut words = value.split_whitespace();
    let mut kind = words.next().ok_or(WRONG)?;
    let mut rest: Vec<&str> = words.collect();
    if kind.contains(':') {
        // The form of old versions: no kind.
        rest.insert(0, kind);
        kind = "http";
    }
    let kind = kind.to_ascii_lowercase();
    if kind == "none" {
        let [site] = rest[..] else { return Err(WRONG) };
        return Ok((format!("none {site}"), "direct".to_owned(), false, read_site(site)?));
    }
    let scheme = match kind.as_str() {
        "http" => "http",
        "socks5" => "socks5",
        "socks4" => return Err("SOCKS4 is not spoken; does the proxy speak SOCKS5 or HTTP?"),
        _ => return Err(WRONG),
    };
    let (proxy, site) = match rest[..] {
        [proxy] => (proxy, None),
        [proxy, site] => (proxy, Some(site)),
        _ => return Err(WRONG),
    };
    let (has_credentials, address) = proxy.rsplit_once('@').map_or((false, proxy), |(_, address)| (true, address));
    let address = Authority::parse(address).map_err(|_| "it has no host and port that can be read")?;
    let said = format!("{kind} {address}{}", site.map(|site| format!(" {site}")).unwrap_or_default());
    let site = site.map_or(Ok(Site::Rest), read_site)?;
    Ok((said, format!("{scheme}://{address}"), has_credentials, site))
}

fn read_site(text: &str) -> Result<Site, &'static str> {
    let text = text.trim_matches('"');
    if text == "." {
        return Err(
            "no pattern means all names without a dot; write them one by one, else they go the way of the rest",
        );
    }
    let (name, is_below) = text.strip_prefix('.').map_or((text, false), |name| (name, true));
    if DomainPattern::parse(name).is_err() || name.starts_with(['*', '.']) {
        return Err(
            "no pattern means addresses, only names; private ones are refused anyhow, others go the way of the rest",
        );
    }
    let name = name.to_ascii_lowercase();
    Ok(if is_below { Site::Below(name) } else { Site::Name(name) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import(lines: &[&str]) -> (String, String) {
        let (mut upstreams, mut notes) = (Upstreams::default(), Notes::default());
        for (number, line) in lines.iter().enumerate() {
            upstreams.take(&format!("f:{number}"), line, &mut notes);
        }
        let yaml = upstreams.render(&mut notes);
        (yaml, notes.0)
    }

    #[test]
    fn the_last_line_that_fits_stays_the_one_that_decides() {
        let (yaml, notes) = import(&[
            "http next:3128",
            "none \"api.example.org\"",
            "http first:3128 \".example.org\"",
            "none \".www.example.org\"",
            "socks5 10.0.0.9:1080 \"example.net\"",
            "http second:3128",
        ]);
        let expected = "    upstream:\n    - proxy: \"http://next:3128\"\n    - proxy: \"http://first:3128\"\n      \
                        domains: [\"*.example.org\"]\n    - proxy: \"direct\"\n      domains: [\"*.www.example.org\"]\n    \
                        - proxy: \"socks5://10.0.0.9:1080\"\n      domains: [\"example.net\"]\n";
        assert_eq!(yaml, expected, "{notes}");
        assert!(notes.contains("f:1: Upstream none \"api.example.org\": not taken: f:2 speaks"), "{notes}");
        assert!(notes.contains("f:5: Upstream http second:3128: not taken: tinyproxy as well"), "{notes}");
    }

    #[test]
    fn a_password_is_asked_for_by_a_variable_and_what_cannot_be_said_is_named() {
        let (yaml, notes) = import(&[
            "http anna:sEcReT@next:3128",
            "next-old:3128 \"a.test\"",
            "socks4 old:1080",
            "none \"10.0.0.0/8\"",
            "none \".\"",
            "http u:sEcReT@nowhere",
            "nonsense",
        ]);
        assert!(yaml.contains("os.environ/NEXT_PROXY_1") && yaml.contains("http://next-old:3128"), "{yaml}");
        assert!(!format!("{yaml}{notes}").contains("sEcReT"), "{yaml}{notes}");
        assert!(notes.contains("set the variable NEXT_PROXY_1 to http://USER:PASSWORD@next:3128"), "{notes}");
        for number in 2..7 {
            assert!(notes.contains(&format!("f:{number}: Upstream: not taken: ")), "{number}: {notes}");
        }
        assert_eq!(import(&[]).0, "");
    }
}
