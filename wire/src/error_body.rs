//! How a refusal of ours looks in each dialect.
//!
//! Clients show these texts to people and steer by the `type`, so the shape must be the dialect's own. Sources:
//! OpenAI `error` object, Anthropic `docs.anthropic.com/en/api/errors`; LiteLLM's `code` is a string.

use serde_json::{Value, json};

use crate::endpoint::Dialect;

/// What a refusal says, before it has a dialect.
#[derive(Debug, Clone)]
pub struct ErrorBody<'a> {
    /// HTTP status.
    pub status: u16,
    /// OpenAI's and LiteLLM's `type`, for example `auth_error`.
    pub kind: &'a str,
    /// OpenAI's `code`, where it is not the status; Anthropic's dialect has the type only.
    pub code: Option<&'a str>,
    /// Figures for programs, where there are any.
    pub details: Option<&'a Value>,
    /// The name of the offending parameter, if there is one.
    pub param: Option<&'a str>,
    /// What happened, where, and what to do next.
    pub message: &'a str,
}

impl ErrorBody<'_> {
    /// The JSON body in this dialect.
    #[must_use]
    pub fn render(&self, dialect: Dialect) -> String {
        let mut body = match dialect {
            Dialect::OpenAi | Dialect::Responses => json!({
                "error": {
                    "message": self.message,
                    "type": self.kind,
                    "param": self.param,
                    "code": self.code.map_or_else(|| self.status.to_string(), str::to_owned),
                }
            }),
            Dialect::Anthropic => {
                // Where a code is given, its kind is what programs look for.
                let kind = if self.code.is_some() { self.kind } else { anthropic_type(self.status) };
                json!({ "type": "error", "error": { "type": kind, "message": self.message } })
            }
        };
        if let Some(details) = self.details {
            body["error"]["details"] = details.clone();
        }
        body.to_string()
    }
}

/// Anthropic's error type for a status.
fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dialect_has_its_own_shape() {
        let body = ErrorBody {
            status: 403,
            kind: "key_model_access_denied",
            code: None,
            details: None,
            param: Some("model"),
            message: "no",
        };
        assert_eq!(
            body.render(Dialect::OpenAi),
            r#"{"error":{"code":"403","message":"no","param":"model","type":"key_model_access_denied"}}"#
        );
        assert_eq!(
            body.render(Dialect::Anthropic),
            r#"{"error":{"message":"no","type":"permission_error"},"type":"error"}"#
        );
    }
}
