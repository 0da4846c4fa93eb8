//! `fleetgate enroll`

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use fleetgate_wire::host::HostLabel;
use fleetgate_wire::invitation::InvitationToken;
use fleetgate_wire::{ExposeSecret, SecretString};

use super::{CliError, print};
use crate::admin::Admin;
use crate::forward::GatewayUrl;
use crate::identity::{self, PINNED_FILE};
use crate::keystore::{Enrolment, Place, PlaceError};
use crate::places;

/// A machine that enrolls again had a key that it replaces at once: nothing on it uses the old one any more.
const GRACE: &str = "0s";
/// Longer than any token.
const MAX_INPUT: u64 = 4096;

#[derive(Debug, Args)]
pub(super) struct EnrollArgs {
    /// The gateway: http://host:port
    #[arg(value_name = "URL")]
    gateway: GatewayUrl,
    /// The invitation; `-` reads it from standard input, which `ps` does not show
    #[arg(long, env = "FLEETGATE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<SecretString>,
    /// This host's label, instead of looking for it
    #[arg(long, env = "FLEETGATE_HOST", value_name = "LABEL")]
    host: Option<String>,
    /// Where the key goes: keyring, file, or the path of a file (default: the keyring where it works, else a file)
    #[arg(long, value_name = "PLACE")]
    store: Option<String>,
}

pub(super) async fn run(args: EnrollArgs) -> Result<(), CliError> {
    let token = read_token(args.token)?;
    let directory = places::config_directory().ok_or(CliError::NoDirectory)?;
    let state = places::state_directory().ok_or(CliError::NoDirectory)?;
    let explicit = args.host.as_deref().filter(|label| !label.is_empty());
    let label = identity::find(explicit, Some(&state)).await?.label;
    let place = choose(args.store.as_deref(), &directory, &label).await?;

    // All that can fail on this machine is tried before anything is minted.
    place.prepare().await?;
    let before = Before::read(&directory, &state)?;
    let minted = Admin::anonymous(args.gateway.clone()).enroll(&token, &label).await?;
    let own = Admin::of_key(args.gateway.clone(), &minted.key);
    let enrolment =
        Enrolment { gateway: Some(args.gateway.to_string()), key: Some(place.reference()), ..before.enrolment.clone() };
    // The key comes last: until then everything can be put back as it was.
    let stored = async {
        pin(&state, &label)?;
        enrolment.write(&directory).map_err(|source| failed(Enrolment::path(&directory), source))?;
        place.write(&minted.key).await
    };
    if let Err(why) = stored.await {
        before.restore(&directory, &state);
        let after = match own.discard_own_key().await {
            Ok(()) => {
                "it has been revoked again, and this machine is as it was. The invitation's use is spent".to_owned()
            }
            Err(error) => format!("revoking it failed too ({error}): an administrator should delete its key"),
        };
        return Err(CliError::NotStored { why: why.to_string(), after });
    }
    // The free call that proves the key.
    let confirmed = own.confirm_own_key(GRACE).await.map_err(|why| CliError::Unconfirmed { why })?;
    let old = before.enrolment.key.filter(|old| *old != place.reference());
    let alias = confirmed.key_alias.or(minted.alias).unwrap_or_default();
    let mut text = format!(
        "host     {label} (pinned in {})\nkey      \"{alias}\", stored in {}; the gateway accepts it\ngateway  {} (in {})\n",
        state.join(PINNED_FILE).display(),
        place.reference(),
        args.gateway,
        Enrolment::path(&directory).display(),
    );
    if minted.replaces {
        text.push_str("         the key that this host had before is deleted at the gateway\n");
    }
    if let Some(old) = old {
        text.push_str(&format!("         {old} still holds a key that is no longer used\n"));
    }
    text.push_str("next     fleetgate sidecar (or, as a service: install/install.sh sidecar)\n");
    Ok(print(&text)?)
}

fn read_token(given: Option<SecretString>) -> Result<InvitationToken, CliError> {
    let given = given.ok_or(CliError::NoToken)?;
    if given.expose_secret() != "-" {
        return Ok(InvitationToken::parse(given.expose_secret())?);
    }
    let mut text = String::new();
    io::stdin().lock().take(MAX_INPUT).read_to_string(&mut text)?;
    let text = SecretString::from(text);
    Ok(InvitationToken::parse(text.expose_secret())?)
}

async fn choose(store: Option<&str>, directory: &Path, label: &HostLabel) -> Result<Place, CliError> {
    Ok(match store {
        None => Place::best(directory, label, None).await,
        Some("keyring") => Place::in_keyring(label, None),
        Some("file") => Place::in_directory(directory, None),
        Some(path) => Place::File(std::path::absolute(path)?),
    })
}

fn failed(path: PathBuf, source: io::Error) -> PlaceError {
    PlaceError::File { path, source }
}

/// From now on this machine has this label, whatever its network calls it.
fn pin(state: &Path, label: &HostLabel) -> Result<(), PlaceError> {
    let file = state.join(PINNED_FILE);
    fs::create_dir_all(state)
        .and_then(|()| fs::write(&file, format!("{label}\n")))
        .map_err(|source| failed(file, source))
}

/// What was there before, to put it back.
struct Before {
    enrolment: Enrolment,
    enrolment_text: Option<Vec<u8>>,
    pinned: Option<Vec<u8>>,
}

impl Before {
    fn read(directory: &Path, state: &Path) -> Result<Self, CliError> {
        Ok(Self {
            enrolment: Enrolment::read(directory)?,
            enrolment_text: fs::read(Enrolment::path(directory)).ok(),
            pinned: fs::read(state.join(PINNED_FILE)).ok(),
        })
    }

    /// As far as it can be done: what fails here failed before for the same reason.
    fn restore(&self, directory: &Path, state: &Path) {
        for (path, text) in
            [(Enrolment::path(directory), &self.enrolment_text), (state.join(PINNED_FILE), &self.pinned)]
        {
            let restored = text.as_ref().map_or_else(|| fs::remove_file(&path), |text| fs::write(&path, text));
            if let Err(error) = restored {
                tracing::debug!(path = %path.display(), %error, "not put back");
            }
        }
    }
}
