//! Amounts and times as the HTTP backend writes them, and values at a path of a JSON object.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::config::{AmountForm, TimeForm};

/// Writes whole TWD.
pub(crate) fn amount_out(form: AmountForm, twd: i64) -> Value {
    match form {
        AmountForm::Number => json!(twd),
        AmountForm::Text => json!(twd.to_string()),
        AmountForm::Decimals => json!(format!("{twd}.00")),
        AmountForm::Cents => json!(twd.saturating_mul(100)),
    }
}

/// Reads whole TWD; `None` if the value has another form, or a part of a dollar.
pub(crate) fn amount_in(form: AmountForm, value: &Value) -> Option<i64> {
    match form {
        AmountForm::Number => value.as_i64(),
        AmountForm::Text => value.as_str()?.parse().ok(),
        AmountForm::Decimals => value.as_str()?.strip_suffix(".00")?.parse().ok(),
        AmountForm::Cents => value.as_i64().filter(|cents| cents % 100 == 0).map(|cents| cents / 100),
    }
}

/// Writes a time in Unix ms.
pub(crate) fn time_out(form: TimeForm, unix_ms: i64) -> Value {
    match form {
        TimeForm::UnixMs => json!(unix_ms),
        TimeForm::UnixS => json!(unix_ms.div_euclid(1_000)),
        TimeForm::Rfc3339 => {
            let time = Timestamp::from_millisecond(unix_ms).unwrap_or(Timestamp::MAX);
            json!(time.to_string())
        }
    }
}

/// Sets the value at a path, whose parts are separated by dots.
pub(crate) fn set(object: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            object.insert(path.to_owned(), value);
        }
        Some((first, rest)) => {
            let inner = object.entry(first).or_insert_with(|| json!({}));
            if let Value::Object(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

/// The value at a path, whose parts are separated by dots.
pub(crate) fn get<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(object, |value, part| value.get(part))
}

/// A text or a number at a path, as text.
pub(crate) fn text(object: &Value, path: &str) -> Option<String> {
    match get(object, path)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_the_form_of_the_backend() {
        for (form, written) in [
            (AmountForm::Number, json!(120)),
            (AmountForm::Text, json!("120")),
            (AmountForm::Decimals, json!("120.00")),
            (AmountForm::Cents, json!(12_000)),
        ] {
            assert_eq!(amount_out(form, 120), written);
            assert_eq!(amount_in(form, &written), Some(120), "{form:?}");
        }
        // A part of a dollar is never rounded.
        assert_eq!(amount_in(AmountForm::Cents, &json!(12_050)), None);
        assert_eq!(amount_in(AmountForm::Decimals, &json!("120.50")), None);
        assert_eq!(amount_in(AmountForm::Number, &json!(120.5)), None);
        assert_eq!(amount_in(AmountForm::Text, &json!(120)), None);
    }

    #[test]
    fn times_have_the_form_of_the_backend() {
        assert_eq!(time_out(TimeForm::UnixMs, 1_999), json!(1_999));
        assert_eq!(time_out(TimeForm::UnixS, 1_999), json!(1));
        assert_eq!(time_out(TimeForm::Rfc3339, 1_999), json!("1970-01-01T00:00:01.999Z"));
    }

    #[test]
    fn a_dot_means_an_object_within_an_object() {
        let mut object = Map::new();
        set(&mut object, "order.no", json!("T1"));
        set(&mut object, "order.amount", json!(5));
        let object = Value::Object(object);
        assert_eq!(object, json!({"order": {"no": "T1", "amount": 5}}));
        assert_eq!(text(&object, "order.amount").as_deref(), Some("5"));
        assert_eq!(text(&object, "order.none"), None);
    }
}
