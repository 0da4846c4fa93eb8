use proptest::prelude::*;
use serde_json::json;

use super::*;

fn edited(text: &str, edits: &[Edit]) -> String {
    String::from_utf8(Fields::parse(text.as_bytes()).unwrap().apply(edits).to_vec()).unwrap()
}

fn set(name: &str, value: Value) -> Edit {
    Edit::Set(name.into(), value)
}

#[test]
fn only_the_named_member_changes() {
    let text = "{ \"a\" : 1.50 ,\n \"model\":\"x\\u0041\", \"z\":[ 1,2 ] }";
    assert_eq!(edited(text, &[set("model", json!("y"))]), "{ \"a\" : 1.50 ,\n \"model\":\"y\", \"z\":[ 1,2 ] }");
    assert_eq!(edited(text, &[]), text);
}

#[test]
fn members_come_and_go_without_stray_commas() {
    let remove = |name: &str| Edit::Remove(name.into());
    assert_eq!(edited(r#"{"a":1,"b":2,"c":3}"#, &[remove("a")]), r#"{"b":2,"c":3}"#);
    assert_eq!(edited(r#"{"a":1,"b":2,"c":3}"#, &[remove("b")]), r#"{"a":1,"c":3}"#);
    assert_eq!(edited(r#"{"a":1,"b":2,"c":3}"#, &[remove("c")]), r#"{"a":1,"b":2}"#);
    assert_eq!(edited(r#"{"a":1,"b":2}"#, &[remove("a"), remove("b")]), "{}");
    assert_eq!(edited("{}", &[set("x", json!({"y":1}))]), r#"{"x":{"y":1}}"#);
    assert_eq!(edited(r#"{"a":1}"#, &[set("x", json!(2)), remove("a")]), r#"{"x":2}"#);
}

#[test]
fn what_two_readers_would_read_differently_is_refused() {
    assert!(matches!(Fields::parse(br#"{"model":"a","model":"b"}"#), Err(FieldsError::Twice(_))));
    assert!(matches!(Fields::parse(b"{\"model\":\"a\",\"mod\\u0065l\":\"b\"}"), Err(FieldsError::Twice(_))));
    for bad in [&b"[]"[..], b"", b"{", b"{} {}", b"nul", b"{\"a\":}"] {
        assert!(matches!(Fields::parse(bad), Err(FieldsError::NotAnObject(_))), "{bad:?}");
    }
    assert!(matches!(Fields::parse(b"{\"a\":\"\xff\"}"), Err(FieldsError::NotText)));
}

#[test]
fn a_twice_named_member_is_found_among_few_and_among_many() {
    let body = |count: usize, twice: &str| {
        let members: Vec<String> = (0..count).map(|number| format!("\"m{number}\":1")).collect();
        format!("{{{},\"{twice}\":2}}", members.join(","))
    };
    for count in [1, 5, 24, 25, 5000] {
        assert!(Fields::parse(body(count, "other").as_bytes()).is_ok(), "{count}");
        for twice in ["m0".to_owned(), format!("m{}", count - 1)] {
            assert!(
                matches!(Fields::parse(body(count, &twice).as_bytes()), Err(FieldsError::Twice(name)) if name == twice)
            );
        }
    }
}

#[test]
fn members_found_once_are_found_again_by_their_places() {
    let body = "{\"a\":[1], \"m\\u0065\" : \"x\"}".as_bytes();
    let spans = Fields::parse(body).unwrap().spans();
    let again = Fields::at(body, &spans).unwrap();
    assert_eq!((again.raw("a"), again.raw("me"), again.raw("b")), (Some("[1]"), Some("\"x\""), None));
    assert!(Fields::at(b"{}", &spans).is_none());
}

#[test]
fn a_member_that_is_read_on_the_way_is_read_as_it_would_be_alone() {
    let body = br#"{"a":1,"us\u0061ge":{"n":[1,2]},"b":2}"#;
    let (fields, usage) = Fields::parse_with::<Value>(body, "usage").unwrap();
    assert_eq!((fields.raw("a"), fields.raw("b")), (Some("1"), Some("2")));
    assert_eq!(usage, Fields::parse(body).unwrap().read("usage"));
    assert_eq!(Fields::parse_with::<Value>(b"{}", "usage").unwrap().1, None);
    for bad in [r#"{"usage":1,"usage":2}"#, r#"{"a":1,"a":2}"#, r#"{"usage":1"#] {
        assert!(Fields::parse_with::<Value>(bad.as_bytes(), "usage").is_err(), "{bad}");
    }
    assert!(Fields::parse_with::<u64>(body, "usage").is_err(), "it is no number");
}

fn object() -> impl Strategy<Value = serde_json::Map<String, Value>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "\\PC{0,6}".prop_map(Value::from)
    ];
    let value = leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::hash_map("[a-e,{}\"]{1,2}", inner, 0..3)
                .prop_map(|m| Value::Object(m.into_iter().collect()))
        ]
    });
    prop::collection::hash_map("[a-e,{}\"\\\\]{1,2}", value, 0..6).prop_map(|map| map.into_iter().collect())
}

proptest! {
    #[test]
    fn an_edit_means_the_same_as_on_the_parsed_object(mut map in object(), name in "[a-e]", pretty: bool, remove: bool) {
        let text = if pretty { serde_json::to_string_pretty(&map) } else { serde_json::to_string(&map) }.unwrap();
        let edit = if remove {
            map.remove(&name);
            Edit::Remove(name)
        } else {
            map.insert(name.clone(), json!({"new": [1, "x"]}));
            set(&name, json!({"new": [1, "x"]}))
        };
        let after: serde_json::Map<String, Value> = serde_json::from_str(&edited(&text, &[edit])).unwrap();
        prop_assert_eq!(after, map);
    }
}
