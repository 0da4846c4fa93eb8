//! How a refusal of ours looks in each dialect.
//!
//! Clients show these texts to people and steer by the `type`, so the shape must be the dialect's own. Sources:
//! OpenAI `error` object, Anthropic `docs.anthropic.com/en/api/errors`; LiteLLM's `code` is a string.

use serde_json::json;

use crate::endpoint::Dialect;

/// What a refusal says, before it has a dialect.
#[derive(Debug, Clone)]
pub struct ErrorBody<'a> {
    /// HTTP status.
    pub status: u16,
    /// OpenAI's and LiteLLM's `type`, for example `auth_error`.
    pub kind: &'a str,
    /// The name of the offending parameter, if there is one.
    pub param: Option<&'a str>,
    /// What happened, where, and what to do next.
    pub message: &'a str,
}

impl ErrorBody<'_> {
    /// The JSON body in this dialect.
    #[must_use]
    pub fn render(&self, dialect: Dialect) -> String {
        match dialect {
            Dialect::OpenAi | Dialect::Responses => json!({
                "error": {
                    "message": self.message,
                    "type": self.kind,
                    "param": self.param,
                    "code": self.status.to_string(),
                }
            }),
            Dialect::Anthropic => json!({
                "type": "error",
                "error": { "type": anthropic_type(self.status), "message": self.message },
            }),
        }
        .to_string()
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
        let body = ErrorBody { status: 403, kind: "key_model_access_denied", param: Some("model"), message: "no" };
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
