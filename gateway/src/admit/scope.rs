//! What a budget or a rate is counted for. The type stands in `wire`: settings, the database and the command line write it too.

pub use fleetgate_wire::scope::{Scope, ScopeError, ScopeKind};
