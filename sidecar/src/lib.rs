//! The sidecar: `localhost:4000` with this host's key.
//!
//! A request goes one way through the rooms: [`front`] takes it, [`workload`] finds out who calls and may they, [`local`] answers what is ours,
//! [`inject`] exchanges the credential for the one that [`keystore`] found for the label of [`identity`], [`forward`]
//! carries it to the gateway. [`respond`] writes every error. [`cli`] is what people type, [`admin`] what it asks the gateway,
//! [`doctor`] why calls do not arrive, [`launch`] what a program is started with so that its calls come here. [`settings`] reads and writes
//! launchers' settings files, [`shell`] keeps the block in a person's start-up files.

pub mod admin;
pub mod cli;
pub mod descriptors;
pub mod doctor;
pub mod forward;
pub mod front;
pub mod identity;
pub mod inject;
pub mod keystore;
pub mod launch;
pub mod local;
pub mod metrics;
pub mod notify;
pub mod places;
pub mod refusal;
mod replace;
pub mod respond;
pub mod settings;
pub mod shell;
pub mod workload;

/// This program's version, as it goes into `x-fleetgate-sidecar`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
