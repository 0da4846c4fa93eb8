use serde_json::json;

use super::*;

fn key() -> Scope {
    Scope::new(ScopeKind::Key, "abc")
}

fn read(fields: &Value) -> Result<Vec<Rule>, RuleError> {
    rules(&key(), fields.as_object().unwrap())
}

fn shown(fields: &Value) -> Vec<String> {
    let rules = read(fields).unwrap();
    let money = |amount: Option<NanoDollars>| amount.map_or("-".to_owned(), |amount| amount.to_string());
    rules.iter().map(|rule| format!("{} {} {}", rule.id, money(rule.max), money(rule.soft))).collect()
}

#[test]
fn each_of_litellm_s_fields_makes_its_rule() {
    assert_eq!(shown(&json!({})), Vec::<String>::new());
    assert_eq!(shown(&json!({"max_budget": null, "budget_duration": "1d"})), Vec::<String>::new());
    assert_eq!(shown(&json!({"max_budget": 5})), ["key:abc lifetime $5.00 -"]);
    assert_eq!(shown(&json!({"max_budget": 0, "budget_duration": "30d"})), ["key:abc 30d $0.00 -"]);
    assert_eq!(shown(&json!({"soft_budget": 4.5, "budget_duration": "daily"})), ["key:abc 1d - $4.50"]);
    assert_eq!(
        shown(
            &json!({"budget_limits": [{"budget_duration": "1d", "max_budget": 1}, {"budget_duration": "30d", "max_budget": 9}]})
        ),
        ["key:abc 1d $1.00 -", "key:abc 30d $9.00 -"]
    );
    assert_eq!(
        shown(&json!({"model_max_budget": {
            "gpt-4o": {"budget_limit": 2, "time_period": "1d"},
            "o3": {"max_budget": 3, "budget_duration": "7d"},
            "x": 1,
        }})),
        ["key_model:abc/gpt-4o 1d $2.00 -", "key_model:abc/o3 7d $3.00 -", "key_model:abc/x lifetime $1.00 -"]
    );
    assert_eq!(
        shown(&json!({"max_budget": 5, "budget_duration": "1d", "rolling": true})),
        ["key:abc rolling 1d $5.00 -"]
    );
}

#[test]
fn two_limits_of_one_window_are_the_stricter() {
    let limits = json!([{"budget_duration": "1d", "max_budget": 3}]);
    assert_eq!(
        shown(&json!({"max_budget": 5, "soft_budget": 2, "budget_duration": "1d", "budget_limits": limits})),
        ["key:abc 1d $3.00 $2.00"]
    );
}

#[test]
fn what_cannot_be_taken_at_its_word_is_refused() {
    let refused = |fields: Value| read(&fields).unwrap_err().to_string();
    assert_eq!(refused(json!({"max_budget": -1})), "max_budget must be a number of dollars, 0 or more");
    assert_eq!(refused(json!({"max_budget": "5"})), "max_budget must be a number of dollars, 0 or more");
    assert_eq!(refused(json!({"soft_budget": 1e300})), "soft_budget must be a number of dollars, 0 or more");
    assert_eq!(
        refused(json!({"max_budget": 5, "budget_duration": "2mo"})),
        "budget_duration: \"2mo\" is no duration; write a number and s, m, h, d, w or mo, for example 30d"
    );
    assert_eq!(
        refused(json!({"budget_limits": [{"budget_duration": "1d", "max_budget": -2}]})),
        "budget_limits[0].max_budget must be a number of dollars, 0 or more"
    );
    assert_eq!(
        refused(json!({"budget_limits": [5]})),
        "budget_limits[0] must be a map with budget_duration and max_budget"
    );
    assert!(matches!(
        read(&json!({"max_budget": 5, "budget_duration": "5m", "rolling": true})),
        Err(RuleError::RollingTooShort { .. })
    ));
    assert_eq!(read(&json!({"max_budget": 5, "temp_budget_increase": 1})), Err(RuleError::NoExpiry));
    let team = Scope::new(ScopeKind::Team, "t");
    let fields = json!({"model_max_budget": {"m": 1}});
    assert!(matches!(rules(&team, fields.as_object().unwrap()), Err(RuleError::ModelsOfOther { .. })));
}

#[test]
fn an_increase_ends_at_its_expiry() {
    for expiry in ["2026-12-01T00:00:00Z", "2026-12-01T01:00:00+01:00", "2026-12-01T00:00:00", "2026-12-01"] {
        let rules = read(&json!({"max_budget": 5, "temp_budget_increase": 2, "temp_budget_expiry": expiry})).unwrap();
        let cap = |at: &str| rules[0].cap(at.parse().unwrap()).unwrap().to_string();
        assert_eq!(
            (cap("2026-11-30T23:59:59Z"), cap("2026-12-01T00:00:00Z")),
            ("$7.00".into(), "$5.00".into()),
            "{expiry}"
        );
    }
}
