//! Deep changes of TOML tables.

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::{Error, Result, with_nearest};

/// Reads TOML; `origin` is what errors call it.
///
/// # Errors
///
/// [`Error::Toml`]: one line with the number of that in the text, and the nearest known key.
pub fn from_toml<T: DeserializeOwned>(text: &str, origin: &str) -> Result<T> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().map_or("", |span| text.get(..span.start).unwrap_or(""));
        let line = before.matches('\n').count() + 1;
        let message = with_nearest(&error.message().trim().replace('\n', " "));
        Error::Toml { origin: origin.to_owned(), line, message }
    })
}

/// Lays `over` on `base`: tables are merged key by key at every depth, anything else replaces, and
/// so does a table of another `kind`, whose keys are others.
pub fn merge(base: &mut Table, over: &Table) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Table(below)), Value::Table(above)) if !of_other_kind(below, above) => {
                merge(below, above);
            }
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

fn of_other_kind(below: &Table, above: &Table) -> bool {
    matches!((below.get("kind"), above.get("kind")), (Some(below), Some(above)) if below != above)
}

/// Sets the value at `path` (keys from the outside in), making the tables on the way.
///
/// # Errors
///
/// A sentence on what is in the way: an empty key, or a value on the way that is not a table.
pub fn set_path(table: &mut Table, path: &[&str], value: Value) -> Result<(), String> {
    let Some((last, parents)) = path.split_last() else {
        return Err("an empty key; expected one like `training.epochs`".to_owned());
    };
    if path.contains(&"") {
        return Err(format!("`{}` has an empty part", path.join(".")));
    }
    let mut at = table;
    for (depth, key) in parents.iter().enumerate() {
        let next = at.entry(*key).or_insert_with(|| Value::Table(Table::new()));
        let kind = next.type_str();
        at = next.as_table_mut().ok_or_else(|| not_a_table(&path[..=depth], kind))?;
    }
    at.insert((*last).to_owned(), value);
    Ok(())
}

/// Removes the value at `path` and returns it; `None` if there is none.
///
/// # Errors
///
/// A sentence on the value on the way that is not a table.
pub fn remove_path(table: &mut Table, path: &[&str]) -> Result<Option<Value>, String> {
    let Some((last, parents)) = path.split_last() else { return Ok(None) };
    let mut at = table;
    for (depth, key) in parents.iter().enumerate() {
        let Some(next) = at.get_mut(*key) else { return Ok(None) };
        let kind = next.type_str();
        at = next.as_table_mut().ok_or_else(|| not_a_table(&path[..=depth], kind))?;
    }
    Ok(at.remove(*last))
}

fn not_a_table(path: &[&str], kind: &str) -> String {
    format!("`{}` is a value of type {kind}, not a table, and has no keys", path.join("."))
}
