//! What a mode sets, told without secrets.

use serde_json::{Map, Value, json};

use super::foreign;
use super::launcher::Launcher;
use super::modes::Mode;
use super::program::Program;

fn programs() -> impl Iterator<Item = Program> {
    Launcher::ALL.into_iter().map(Program::Known).chain([Program::Plain])
}

impl Mode {
    /// Its models, and what its tables for single programs say: a line each.
    #[must_use]
    pub fn says(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let table = &self.table;
        match (&table.model, &table.small_model) {
            (Some(model), small) => {
                let small =
                    small.as_ref().map_or(String::new(), |small| format!(", {} for small tasks", small.as_str()));
                let tokens = table.context_tokens.map_or(String::new(), |tokens| format!(", {tokens} tokens"));
                lines.push(format!("model: {}{small}{tokens}; {} replaces it", model.as_str(), self.name.variable()));
            }
            (None, _) => lines.push("model: the program's own".to_owned()),
        }
        for program in programs() {
            let Some(Value::Object(own)) = self.own_settings(program) else { continue };
            let words = own.iter().map(|(key, value)| format!("{key} = {value}"));
            lines.push(format!("{program}: {}", words.collect::<Vec<_>>().join(", ")));
        }
        lines
    }

    /// What is in force for each program that it is for.
    #[must_use]
    pub fn programs(&self) -> Value {
        let mut all = Map::new();
        for program in programs().filter(|program| self.is_for(*program)) {
            let own = self.own_settings(program).unwrap_or_else(|| json!({}));
            let model = |model: Option<&super::Model>| model.map(|model| model.as_str().to_owned());
            all.insert(
                program.name().to_owned(),
                json!({"model": model(self.model(program)), "small_model": model(self.small_model(program)),
                    "context_tokens": self.context_tokens(program), "own": own}),
            );
        }
        Value::Object(all)
    }

    /// A program's own table, with values hidden that may be secret.
    fn own_settings(&self, program: Program) -> Option<Value> {
        let mut own = serde_json::to_value(self.own_of(program)?).ok()?;
        for table in ["env", "default_env"] {
            for (name, value) in own.get_mut(table).and_then(Value::as_object_mut).into_iter().flatten() {
                if value.as_str().is_some_and(|text| foreign::may_be_secret(name, text)) {
                    *value = json!("…");
                }
            }
        }
        Some(own)
    }
}
