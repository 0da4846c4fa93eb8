//! Users of this machine: their names, and which of them may use the sidecar.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;
use std::{env, fs, io};

use tokio::process::Command;
use tokio::time::timeout;

use super::text;

const ROOT: u32 = 0;
const ACCOUNTS: &str = "/etc/passwd";
const MAX_NAME: usize = 64;
/// A directory service that does not answer must not hold the start up for ever.
const LOOKUP_LIMIT: Duration = Duration::from_secs(2);

/// Who may use the sidecar: its own user and root always, others when they are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedUsers {
    own: u32,
    others: Others,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Others {
    Everyone,
    Listed(Vec<u32>),
}

/// A user that was to be allowed is not one of this machine's.
#[derive(Debug, thiserror::Error)]
#[error(
    "--allow-user (FLEETGATE_ALLOW_USERS): this machine has no user {0:?}. Give the name or the number of one, or * for all; \
     a service with DynamicUser=yes has no user of its own until it runs: give it one with User="
)]
pub struct NoSuchUser(String);

impl AllowedUsers {
    /// The sidecar's own user, and root.
    #[must_use]
    pub fn only_own() -> Self {
        Self { own: rustix::process::geteuid().as_raw(), others: Others::Listed(Vec::new()) }
    }

    /// These too, by name or number; `*` is everyone.
    ///
    /// # Errors
    /// When this machine does not have one of them.
    pub async fn and(mut self, users: &[String]) -> Result<Self, NoSuchUser> {
        for user in users.iter().map(|user| user.trim()).filter(|user| !user.is_empty()) {
            if user == "*" {
                self.others = Others::Everyone;
                continue;
            }
            let uid = number_of(user).await.ok_or_else(|| NoSuchUser(user.to_owned()))?;
            if let Others::Listed(listed) = &mut self.others {
                listed.push(uid);
            }
        }
        Ok(self)
    }

    /// Whether this user is one of them.
    #[must_use]
    pub fn admit(&self, uid: u32) -> bool {
        uid == self.own || uid == ROOT || self.admit_other(uid)
    }

    fn admit_other(&self, uid: u32) -> bool {
        match &self.others {
            Others::Everyone => true,
            Others::Listed(listed) => listed.contains(&uid),
        }
    }

    /// Whether nobody but the own user and root is.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.others == Others::Listed(Vec::new())
    }

    /// The sidecar's own user.
    #[must_use]
    pub fn own(&self) -> u32 {
        self.own
    }
}

async fn number_of(user: &str) -> Option<u32> {
    if let Ok(uid) = user.parse() {
        return Some(uid);
    }
    let accounts = fs::read_to_string(ACCOUNTS).unwrap_or_default();
    if let Some((_, uid)) = read_accounts(&accounts).find(|(name, _)| *name == user) {
        return Some(uid);
    }
    // Accounts of a directory service are in no file. A name must not be taken for an option.
    if user.starts_with('-') {
        return None;
    }
    let mut id = Command::new("id");
    id.args(["-u", user]).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = timeout(LOOKUP_LIMIT, id.output()).await.ok()?.ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// The name of a user, fit for a header; the number where the machine's own file has none.
pub fn name_of(uid: u32) -> String {
    Names::read().of(uid)
}

/// The names of this machine's users at one moment.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<u32, String>);

impl Names {
    pub(super) fn read() -> Self {
        let accounts = fs::read_to_string(ACCOUNTS).or_else(|error| match error.kind() {
            // A name in another encoding is no reason to know nobody.
            io::ErrorKind::InvalidData => fs::read(ACCOUNTS).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
            _ => Err(error),
        });
        let accounts = accounts.unwrap_or_default();
        let mut names = BTreeMap::new();
        for (name, uid) in read_accounts(&accounts) {
            names.entry(uid).or_insert_with(|| text::shorten(name, MAX_NAME));
        }
        // A person whose account is in a directory service has a name all the same.
        if let Ok(own) = env::var("USER").or_else(|_| env::var("LOGNAME"))
            && !own.is_empty()
        {
            names.entry(rustix::process::geteuid().as_raw()).or_insert_with(|| text::shorten(own, MAX_NAME));
        }
        Self(names)
    }

    pub(super) fn of(&self, uid: u32) -> String {
        self.0.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }
}

/// `name:password:uid:…`
fn read_accounts(text: &str) -> impl Iterator<Item = (&str, u32)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        Some((name, fields.nth(1)?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_own_user_and_root_are_always_allowed_and_others_when_named() {
        let own = AllowedUsers { own: 1000, others: Others::Listed(Vec::new()) };
        assert!(own.admit(1000) && own.admit(0) && !own.admit(1001) && own.is_private());
        let more = own.clone().and(&["1001".to_owned(), "nobody".to_owned(), " ".to_owned()]).await.unwrap();
        assert!(more.admit(1001) && !more.admit(1002) && !more.is_private());
        let all = own.clone().and(&["1001".to_owned(), "*".to_owned(), "1002".to_owned()]).await.unwrap();
        assert!(all.admit(4_000_000));
        for unknown in ["no-such-user-here", "-1", "--help"] {
            assert!(own.clone().and(&[unknown.to_owned()]).await.is_err(), "{unknown}");
        }
    }

    #[test]
    fn users_have_names_where_the_machine_knows_them() {
        assert_eq!(name_of(0), "root");
        assert_eq!(name_of(3_999_999_999), "3999999999");
        let read: Vec<_> = read_accounts("# comment\nroot:x:0:0::/root:/bin/sh\nbroken\nme:x:1000:\n").collect();
        assert_eq!(read, [("root", 0), ("me", 1000)]);
    }
}
