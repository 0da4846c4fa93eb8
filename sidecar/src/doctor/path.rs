//! The way from this machine to the gateway and back, step by step. Where a step fails, the rest is skipped.

use std::net::SocketAddr;
use std::time::SystemTime;

use fleetgate_wire::header;
use http::HeaderMap;

use super::here::{self, Here};
use super::report::{Finding, Level};
use super::{Us, account, answer, exchange, name, reach, route, size};
use crate::VERSION;
use crate::forward::{Answer, GatewayUrl};

/// All steps in their order.
const STEPS: [&str; 11] =
    ["dns", "route", "tcp", "protocol", "marker", "mtu", "clock", "versions", "key", "budget", "call"];

/// What was found on the way so far.
#[derive(Debug, Default)]
pub(super) struct Path(Vec<Finding>);

impl Path {
    /// Walks. What was found until somebody drops this stays.
    pub(super) async fn walk(&mut self, gateway: &GatewayUrl, sidecar: &GatewayUrl, us: &Us, here: &Here) {
        if let Err(cause) = self.go(gateway, sidecar, us, here).await {
            self.stop(cause);
        }
    }

    async fn go(&mut self, gateway: &GatewayUrl, sidecar: &GatewayUrl, us: &Us, here: &Here) -> Result<(), Finding> {
        let resolved = name::resolve(gateway).await?;
        self.0.push(resolved.finding);
        // Where a name leads to the wrong place, that is the cause of all that fails there.
        let blame_name = |finding: Finding| match &resolved.suspicion {
            Some(suspicion) => name::wrong_address(gateway.authority(), suspicion, &finding.what),
            None => finding,
        };
        let way = way_to(&resolved.addresses).map_err(blame_name)?;
        self.0.push(way.finding);
        let blame_route = |finding: Finding| match &way.suspicion {
            Some(suspicion) => Finding { cause: Some(suspicion.clone()), ..finding }
                .next("tailscale status  # or: wg show; netbird status"),
            None => finding,
        };
        let (address, finding) = reach::connect(&resolved.addresses).await.map_err(blame_route).map_err(blame_name)?;
        self.0.push(finding);
        self.0.push(answer::protocol(address, gateway).await.map_err(blame_name)?);
        let alive = exchange::get(gateway, answer::ALIVE, HeaderMap::new()).await.map_err(|problem| {
            Finding::problem("marker", "no_answer", format!("{address} gives no whole answer: {problem}"))
                .cause("the gateway hangs, or something in between cuts its answers")
                .next("fleetgate doctor --on-gateway  # there")
        })?;
        self.0.push(answer::marker(&alive, gateway).map_err(blame_name)?);
        let outside = resolved.suspicion.is_some();
        if let Some(suspicion) = &resolved.suspicion {
            self.warn_of_address(suspicion);
        }
        // The key is asked about at the same time: in a black hole that answer would be waited for in vain.
        let asked = async { if outside { None } else { ask_about_key(gateway, sidecar, us, here).await } };
        let (size, described) = tokio::join!(size::probe(address, gateway, way.interface.as_ref()), asked);
        if size.level == Level::Problem {
            return Err(size);
        }
        self.0.push(size);
        self.0.push(account::clock(&alive.headers, SystemTime::now()));
        self.0.push(versions(&alive));
        if outside {
            // Nobody vouches for who answers there, and nothing encrypts what is sent.
            self.skip_rest("no key is sent to an address outside of the mesh");
            return Ok(());
        }
        self.judge_key(described, us)?;
        self.0.push(match &here.described {
            Some(_) => here::call(sidecar, gateway).await,
            None => Finding::skipped("call", "no sidecar answers this user here"),
        });
        Ok(())
    }

    fn judge_key(&mut self, described: Option<Result<Answer, String>>, us: &Us) -> Result<(), Finding> {
        let label = us.label.as_ref().map_or("", |label| label.as_str());
        match described {
            None => {
                // Its own finding stands above: there is no key to show.
                self.0.extend(["key", "budget"].map(|check| Finding::skipped(check, "there is no key to ask about")));
            }
            Some(Ok(answer)) => {
                let (key, budget) = account::judge(&answer, label)?;
                self.0.push(key);
                self.0.push(budget);
            }
            Some(Err(problem)) => {
                return Err(Finding::problem("key", "no_answer", format!("the gateway gives no answer about the key: {problem}"))
                    .cause("small answers arrive and this one does not: its database is slow, or the path swallows large packets towards here (MTU)")
                    .next("fleetgate doctor --on-gateway  # there")
                    .next("ip link show  # the MTU of the mesh's interface, here and there; 1280 always works"));
            }
        }
        Ok(())
    }

    fn warn_of_address(&mut self, suspicion: &str) {
        if let Some(dns) = self.0.iter_mut().find(|finding| finding.check == "dns") {
            *dns = Finding::warning(
                "dns",
                "unusual_address",
                format!("{suspicion}; a gateway answers there all the same"),
            )
            .cause("the calls of this machine do not go through the mesh, so nothing encrypts them")
            .next("getent ahosts GATEWAY; tailscale status");
        }
    }

    /// The end of the way: this is why, and what comes after it is not looked at.
    pub(super) fn stop(&mut self, cause: Finding) {
        let because = format!("because of {}", cause.check);
        // A step that seemed fine until a later one showed otherwise is replaced.
        self.0.retain(|finding| finding.check != cause.check);
        self.0.push(cause);
        self.skip_rest(&because);
    }

    /// Time is up: the step that was under way is where it went.
    pub(super) fn out_of_time(&mut self) {
        let waiting = STEPS.into_iter().find(|step| !self.0.iter().any(|finding| finding.check == *step));
        let Some(step) = waiting else { return };
        let slow = Finding::problem(step, "too_slow", "this check did not end in time")
            .cause("the gateway, the sidecar or the network between them is very slow")
            .next("fleetgate doctor  # again")
            .next("fleetgate doctor --on-gateway  # there");
        self.stop(slow);
    }

    fn skip_rest(&mut self, why: &str) {
        for step in STEPS {
            if !self.0.iter().any(|finding| finding.check == step) {
                self.0.push(Finding::skipped(step, why));
            }
        }
    }

    /// In the order of the steps.
    pub(super) fn into_findings(mut self) -> Vec<Finding> {
        self.0.sort_by_key(|finding| STEPS.iter().position(|step| *step == finding.check));
        self.0
    }
}

/// The way to the first address to which there is one; a machine without IPv6 has none to half of the addresses.
fn way_to(addresses: &[SocketAddr]) -> Result<route::Way, Finding> {
    let mut first = None;
    for address in addresses {
        match route::look(*address) {
            Ok(way) => return Ok(way),
            Err(finding) => first = first.or(Some(finding)),
        }
    }
    Err(first.unwrap_or_else(|| Finding::problem("route", "no_route", "there is no address to go to")))
}

async fn ask_about_key(
    gateway: &GatewayUrl,
    sidecar: &GatewayUrl,
    us: &Us,
    here: &Here,
) -> Option<Result<Answer, String>> {
    match &us.bearer {
        Some(bearer) => Some(account::ask(gateway, Some(bearer.clone())).await),
        None if here.described.is_some() => Some(account::ask(sidecar, None).await),
        None => None,
    }
}

fn versions(alive: &Answer) -> Finding {
    const CHECK: &str = "versions";
    let theirs = alive.headers.get(header::GATEWAY).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    match theirs {
        Some(theirs) if theirs != VERSION => {
            Finding::warning(CHECK, "differ", format!("the gateway is {theirs}, this program {VERSION}"))
                .cause("one of the two was upgraded")
                .next("install/install.sh sidecar --user  # or upgrade the gateway")
        }
        _ => Finding::ok(CHECK, format!("gateway and this program are {VERSION}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_depends_on_a_failed_step_is_skipped_and_the_order_stays() {
        let mut path = Path(vec![Finding::ok("dns", ""), Finding::ok("route", "")]);
        path.stop(Finding::problem("tcp", "refused", ""));
        let findings = path.into_findings();
        let words: Vec<_> = findings.iter().map(|finding| (finding.check, finding.level)).collect();
        assert_eq!(words[..3], [("dns", Level::Ok), ("route", Level::Ok), ("tcp", Level::Problem)]);
        assert_eq!(findings.len(), STEPS.len());
        assert!(findings[3..].iter().all(|finding| finding.what == "because of tcp"));
    }

    #[test]
    fn a_step_that_takes_too_long_is_the_problem() {
        let mut path = Path(vec![Finding::ok("dns", ""), Finding::ok("route", "")]);
        path.out_of_time();
        let findings = path.into_findings();
        assert_eq!((findings[2].check, findings[2].code, findings.len()), ("tcp", "too_slow", STEPS.len()));
    }

    #[test]
    fn a_step_that_a_later_one_refutes_is_replaced() {
        let mut path = Path(vec![Finding::ok("dns", ""), Finding::ok("route", ""), Finding::ok("tcp", "")]);
        path.stop(Finding::problem("dns", "wrong_address", ""));
        let findings = path.into_findings();
        assert_eq!((findings[0].check, findings[0].level), ("dns", Level::Problem));
        assert_eq!(findings.iter().filter(|finding| finding.level == Level::Problem).count(), 1);
    }
}
