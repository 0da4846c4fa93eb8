//! What the management API cannot read is refused with LiteLLM's error object, like everything else.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken expectation is a failed test")]

use fleetgate_tests::{Call, Gateway, MASTER_KEY};
use http::Method;

#[tokio::test]
async fn a_request_that_a_path_cannot_take_gets_the_error_object() {
    let gw = Gateway::start(|c| c).await;
    let call = |method: Method, path: &str| Call::new(gw.address(), method, path).bearer(MASTER_KEY);
    let long = "x".repeat(3 << 20);
    for (call, status, kind) in [
        (call(Method::GET, "/key/generate"), 405, "method_not_allowed"),
        (call(Method::PUT, "/key/info"), 405, "method_not_allowed"),
        (call(Method::DELETE, "/budget/new"), 405, "method_not_allowed"),
        (call(Method::POST, "/health/readiness"), 405, "method_not_allowed"),
        (call(Method::GET, "/key/list?page=many"), 400, "bad_request_error"),
        (call(Method::GET, "/key/list?return_full_object=perhaps"), 400, "bad_request_error"),
        (call(Method::POST, "/key/generate").body(long), 413, "bad_request_error"),
        (call(Method::POST, "/key/generate").body("{"), 400, "bad_request_error"),
        (call(Method::GET, "/no/such/path"), 404, "not_found_error"),
    ] {
        let answer = call.send().await;
        let what = format!("{} {}", answer.status, answer.text());
        assert_eq!(answer.status.as_u16(), status, "{what}");
        assert_eq!(answer.header("content-type"), "application/json", "{what}");
        let error = answer.json()["error"].take();
        assert_eq!(error["type"], kind, "{what}");
        assert_eq!(error["code"], status.to_string().as_str(), "{what}");
        assert!(!error["message"].as_str().unwrap().is_empty(), "{what}");
        if status == 405 {
            assert!(!answer.header("allow").is_empty(), "{what}");
        }
    }
}
