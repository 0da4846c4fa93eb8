//! A client's request.

use bytes::Bytes;
use fleetgate_gateway::dialect::{Ask, Edit};
use fleetgate_wire::endpoint::Endpoint;

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    crate::texts(&[
        r#"{"model":"gpt-x","messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":{"include_usage":true}}"#,
        r#"{"messages":[],"model":"sonnet","max_tokens":5,"metadata":{"user_id":"u","tags":["a","b"]},"x":{"model":"no"}}"#,
        r#"{ "mod\u0065l" : "gpt\u002dx" , "n" : 1e400 , "user" : "\ud83e\udd8a" }"#,
    ])
}

/// What was understood can be edited, and reads back as it was edited.
pub(crate) fn ask(bytes: &[u8]) {
    for endpoint in [Endpoint::Chat, Endpoint::Responses, Endpoint::Messages] {
        let Ok(ask) = Ask::read(endpoint, Bytes::copy_from_slice(bytes)) else { continue };
        let stream = Edit::Set("stream".to_owned(), (!ask.stream).into());
        let edits = [Edit::Set("model".to_owned(), "other".into()), stream, Edit::Remove("user".to_owned())];
        let edited = ask.fields().apply(&edits);
        let again = match Ask::read(endpoint, edited) {
            Ok(again) => again,
            Err(error) => panic!("an edit broke the request: {error}"),
        };
        assert_eq!((&*again.model, again.stream), ("other", !ask.stream));
        assert_eq!(again.tags, ask.tags, "what was not edited stays");
    }
}
