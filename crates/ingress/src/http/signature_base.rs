//! The signature base of RFC 9421, section 2.5: the text that a message signature covers. It is
//! made from the request as it arrived, by the list of components in the signature's input.

use std::fmt::Write;

use axum::http::{HeaderMap, Method, Uri, header::HOST};
use sfv::{FieldType, InnerList, List, ListEntry};

/// How many components a signature may cover.
const COMPONENTS_MAX: usize = 32;

/// A request, as a signature covers it.
#[derive(Clone, Copy)]
pub(super) struct RequestHead<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
}

impl RequestHead<'_> {
    /// All values of a header as one, by RFC 9421, section 2.1; absent if there is none, or if one
    /// is not visible ASCII.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        let values = self.headers.get_all(name).iter().map(|value| value.to_str().map(str::trim));
        let values = values.collect::<Result<Vec<_>, _>>().ok()?;
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// The text that a signature with this input covers. Absent if a component occurs twice, is not
    /// in the request, or is of a kind that the router does not know: parameters of components, and
    /// what depends on the scheme, which a proxy in front may change.
    pub(super) fn signature_base(&self, input: &InnerList) -> Option<String> {
        if input.items.len() > COMPONENTS_MAX {
            return None;
        }
        let mut base = String::new();
        for (n, item) in input.items.iter().enumerate() {
            let name = item.bare_item.as_string().filter(|_| item.params.is_empty())?;
            if input.items[..n].iter().any(|other| other.bare_item == item.bare_item) {
                return None;
            }
            writeln!(base, "\"{}\": {}", name.as_str(), self.component(name.as_str())?).ok()?;
        }
        let parameters = List::from([ListEntry::InnerList(input.clone())]).serialize()?;
        write!(base, "\"@signature-params\": {parameters}").ok()?;
        Some(base)
    }

    fn component(&self, name: &str) -> Option<String> {
        match name {
            "@method" => Some(self.method.as_str().to_owned()),
            "@path" => Some(self.uri.path().to_owned()),
            "@query" => Some(format!("?{}", self.uri.query().unwrap_or_default())),
            "@authority" => {
                let host = self.uri.authority().map(ToString::to_string).or_else(|| self.header(HOST.as_str()))?;
                let host = host.to_ascii_lowercase();
                let without_port = host.strip_suffix(":443").or_else(|| host.strip_suffix(":80"));
                Some(without_port.unwrap_or(&host).to_owned())
            }
            name if name.starts_with('@') || name.bytes().any(|byte| byte.is_ascii_uppercase()) => None,
            name => self.header(name),
        }
    }
}
