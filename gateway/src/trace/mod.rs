//! A span for each call, sent to an OpenTelemetry collector in the background.
//!
//! The names are those of the GenAI conventions. A span never holds a prompt, an answer or an error's text. What cannot be sent is
//! dropped and counted: a trace is a convenience, the row is the truth.
//!
//! OTLP's JSON over HTTP is written here: one message of a handful of fields. The `opentelemetry` crates would bring a second
//! HTTP client, protobuf and a batching thread for it.

mod context;
mod exporter;
mod names;
mod span;

pub use context::TraceContext;
pub use exporter::{Post, Tracer};
pub use span::Span;
