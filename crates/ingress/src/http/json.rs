//! A JSON parser from whose values the signed text can be restored: numbers keep their text, and an
//! object with the same key twice is refused. No error repeats a value, since it may be a card
//! token.

use std::{collections::BTreeMap, fmt};

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::field_names::REQUEST_FIELDS;

/// How deep values may be nested. The fields of the form are not nested at all.
const DEPTH_MAX: usize = 8;
/// How many members an object, or elements a list may have.
const MEMBERS_MAX: usize = 1_000;

/// A JSON value. It may be a card token, so it has no Debug.
pub(super) enum Json {
    Null,
    Bool(bool),
    /// The text of the number.
    Number(Box<str>),
    Text(String),
    List(Vec<Json>),
    Object(Object),
}

/// The members of an object, sorted by the bytes of their keys.
pub(super) type Object = BTreeMap<String, Json>;

/// The part that cannot be read, and its position; never the value itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct JsonFault(pub(super) String);

/// Parses the body of a request, which must be an object.
pub(super) fn parse(body: &[u8]) -> Result<Object, JsonFault> {
    if body.is_empty() {
        return Err(JsonFault("the body is empty, a JSON object is expected".to_owned()));
    }
    if body.starts_with(b"\xef\xbb\xbf") {
        return Err(JsonFault("the body begins with a byte order mark; send UTF-8 without one".to_owned()));
    }
    let text = std::str::from_utf8(body)
        .map_err(|error| JsonFault(format!("the body is not UTF-8 at byte {}", error.valid_up_to() + 1)))?;
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| {
        let what = if error.is_eof() { "ends too early" } else { "is not JSON" };
        JsonFault(format!("the body {what} at line {}, column {}", error.line(), error.column()))
    })?;
    match value(raw, 0)? {
        Json::Object(object) => Ok(object),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::List(_) => {
            Err(JsonFault("the body is JSON, but not an object".to_owned()))
        }
    }
}

/// Parses a value whose syntax is known to be valid.
fn value(raw: &RawValue, depth: usize) -> Result<Json, JsonFault> {
    if depth > DEPTH_MAX {
        return Err(JsonFault(format!("values are nested more than {DEPTH_MAX} deep")));
    }
    let text = raw.get().trim();
    Ok(match text.as_bytes().first() {
        Some(b'{') => Json::Object(object(text, depth)?),
        Some(b'[') => {
            let List(elements) = serde_json::from_str(text).map_err(|error| visitor_fault(&error))?;
            Json::List(elements.into_iter().map(|element| value(element, depth + 1)).collect::<Result<_, _>>()?)
        }
        Some(b'"') => Json::Text(serde_json::from_str(text).map_err(|_| invalid_escape())?),
        Some(b't') => Json::Bool(true),
        Some(b'f') => Json::Bool(false),
        Some(b'n') => Json::Null,
        _ => Json::Number(text.into()),
    })
}

fn object(text: &str, depth: usize) -> Result<Object, JsonFault> {
    let Members(members) = serde_json::from_str(text).map_err(|error| visitor_fault(&error))?;
    let mut object = Object::new();
    for (key, raw) in members {
        let member =
            value(raw, depth + 1).map_err(|JsonFault(what)| JsonFault(format!("{}: {what}", printable(&key))))?;
        if object.contains_key(&key) {
            return Err(JsonFault(format!("{} appears twice", printable(&key))));
        }
        object.insert(key, member);
    }
    Ok(object)
}

/// The key as an error may show it. A key may be a misplaced value, so only the names of the form's
/// fields are shown.
fn printable(key: &str) -> &str {
    if REQUEST_FIELDS.contains(&key) { key } else { "a field unknown to this API" }
}

/// Converts the error of one of the visitors below: the syntax is known to be valid, so they fail
/// only for a limit or for an invalid escape in a key.
fn visitor_fault(error: &serde_json::Error) -> JsonFault {
    if error.is_data() { JsonFault(format!("more than {MEMBERS_MAX} fields or elements")) } else { invalid_escape() }
}

fn invalid_escape() -> JsonFault {
    JsonFault("a text has an escape that is no character".to_owned())
}

/// The members of an object in the order of the text, with their raw values.
struct Members<'a>(Vec<(String, &'a RawValue)>);

/// The raw elements of a list.
struct List<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    if members.len() == MEMBERS_MAX {
                        return Err(A::Error::custom("too many"));
                    }
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

impl<'de> Deserialize<'de> for List<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;
        impl<'de> Visitor<'de> for ListVisitor {
            type Value = List<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = list.next_element()? {
                    if elements.len() == MEMBERS_MAX {
                        return Err(A::Error::custom("too many"));
                    }
                    elements.push(element);
                }
                Ok(List(elements))
            }
        }
        deserializer.deserialize_seq(ListVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_says_what_and_where_and_shows_no_value() {
        let deep = format!("{{\"Remark\":{}\"SECRET\"{}}}", "[".repeat(9), "]".repeat(9));
        let wide = format!("{{\"Remark\":[{}0]}}", "0,".repeat(1_000));
        for (body, expected) in [
            ("", "the body is empty, a JSON object is expected"),
            ("\u{feff}{}", "the body begins with a byte order mark; send UTF-8 without one"),
            ("[\"SECRET\"]", "the body is JSON, but not an object"),
            ("\"SECRET\"", "the body is JSON, but not an object"),
            ("SECRET", "the body is not JSON at line 1, column 1"),
            ("{\n \"CardToken\": SECRET}", "the body is not JSON at line 2, column 15"),
            ("{\"CardToken\":\"SECRET\"", "the body ends too early at line 1, column 21"),
            ("{\"CardToken\":\"SECRET\"}{}", "the body is not JSON at line 1, column 23"),
            ("{\"CardToken\":\"SECRET\",}", "the body is not JSON at line 1, column 23"),
            ("{\"TradeAmount\":01}", "the body is not JSON at line 1, column 17"),
            ("{\"Remark\":\"\n\"}", "the body is not JSON at line 1, column 11"),
            ("{\"PosID\":\"a\",\"PosI\\u0044\":\"SECRET\"}", "PosID appears twice"),
            ("{\"SECRET\":1,\"SECRET\":2}", "a field unknown to this API appears twice"),
            ("{\"Remark\":{\"a\":1,\"a\":2}}", "Remark: a field unknown to this API appears twice"),
            ("{\"CardToken\":\"\\ud800SECRET\"}", "CardToken: a text has an escape that is no character"),
            (&deep, "Remark: values are nested more than 8 deep"),
            (&wide, "Remark: more than 1000 fields or elements"),
        ] {
            assert_eq!(parse(body.as_bytes()).err(), Some(JsonFault(expected.to_owned())), "{body}");
        }
        let latin = parse(b"{\"StoreName\":\"\xa4\"}").err();
        assert_eq!(latin, Some(JsonFault("the body is not UTF-8 at byte 15".to_owned())));
    }
}
