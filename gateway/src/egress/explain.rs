//! What would become of a tunnel, without one.

use fleetgate_wire::address::AddressClass;
use fleetgate_wire::authority::{Authority, Host};
use fleetgate_wire::egress::{Explanation, JudgedAddress};

use super::policy::Asker;
use super::{Dialer, Purpose, TunnelRefused, dial, plain_authority};

impl Dialer {
    /// Says what would happen, and by which rule. The name is resolved; nobody is connected to. Limits of tunnels at once are not
    /// looked at: they change from moment to moment.
    pub async fn explain(&self, to: &str, asker: &Asker<'_>) -> Explanation {
        let mut explanation = Explanation {
            to: to.to_owned(),
            key_alias: asker.key.to_owned(),
            host: asker.host.map(str::to_owned),
            workload: Some(asker.workload.to_owned()),
            mode: self.settings.mode.word().to_owned(),
            ..Explanation::default()
        };
        match self.look(to, asker, &mut explanation).await {
            Ok(()) => explanation.allowed = true,
            Err(refused) => {
                explanation.reason = refused.reason();
                explanation.message = match &refused {
                    TunnelRefused::Policy { destination, decision } => decision.message(destination),
                    other => other.to_string(),
                };
            }
        }
        explanation
    }

    async fn look(&self, to: &str, asker: &Asker<'_>, said: &mut Explanation) -> Result<(), TunnelRefused> {
        let (authority, purpose) = match to.strip_prefix("http://") {
            Some(rest) => {
                let end = rest.find(['/', '?']).unwrap_or(rest.len());
                (plain_authority(&rest[..end])?, Purpose::PlainHttp)
            }
            None => (Authority::parse(to)?, Purpose::Tunnel),
        };
        said.to = authority.to_string();
        let decision = match self.judge(&authority, purpose, asker) {
            Err(TunnelRefused::Policy { destination, decision }) => {
                said.rule.clone_from(&decision.rule);
                return Err(TunnelRefused::Policy { destination, decision });
            }
            judged => judged?,
        };
        said.rule.clone_from(&decision.rule);
        said.next_proxy.clone_from(&decision.next_proxy);
        decision.reason.word().clone_into(&mut said.reason);
        let prefix = if decision.is_reported() { "allowed while the mode is report: " } else { "" };
        said.message = format!("{prefix}{}", decision.message(&said.to));
        let is_name = matches!(authority.host(), Host::Name(_));
        if is_name && self.next.of(authority.host()).is_some_and(|next| next.resolves) {
            said.message.push_str("; its name is resolved by the next proxy, and no address is judged");
            return Ok(());
        }
        let addresses = self.resolve(&authority).await?;
        said.addresses = dial::interleave(&addresses, |address| address.is_ipv6())
            .into_iter()
            .map(|address| JudgedAddress {
                address: address.ip().to_string(),
                class: AddressClass::of(address.ip()).word().to_owned(),
                allowed: self.class(address).is_ok() && !self.is_mine(address),
            })
            .collect();
        self.classify(&authority, addresses).map(drop)
    }
}
