//! The canonical text and the signature of bodies, compared with those of another implementation.

use sha2::{Digest, Sha256};

use super::*;
use crate::http::json::parse;

impl Sink for Vec<u8> {
    fn put(&mut self, piece: &[u8]) {
        self.extend_from_slice(piece);
    }
}

/// The name of a case, the body as sent, its canonical text, and its signature under [`KEY`].
type Vector = (&'static str, &'static str, &'static str, &'static str);

const KEY: &str = "0123456789ABCDEF0123456789ABCDEF";

#[rustfmt::skip]
const VECTORS: [Vector; 10] = [
    (
        "a payment in the documented form",
        r#"{"CardToken":"22J111111111111111","Extra1":"","Extra2":"","Extra3":"","GatewayTradeNo":"","MerchantID":"9999999","MerchantTradeNo":"2020009041651","PosID":"1","PosTradeTime":"2020/08/01 10:05:11","Remark":"","SendTime":"20200801100511","StoreID":"9999999","StoreName":"街口測試","TradeAmount":10,"UnRedeem":0,"Sign":"x"}"#,
        r#"{"CardToken":"22J111111111111111","Extra1":"","Extra2":"","Extra3":"","GatewayTradeNo":"","MerchantID":"9999999","MerchantTradeNo":"2020009041651","PosID":"1","PosTradeTime":"2020/08/01 10:05:11","Remark":"","SendTime":"20200801100511","StoreID":"9999999","StoreName":"街口測試","TradeAmount":10,"UnRedeem":0}"#,
        "b4cf3483c9842bb6a2a4dbaf8616445701757c956145a27fa88d7037a66966e6",
    ),
    (
        "keys in any order, blanks between",
        "{ \"UnRedeem\" : 0,\n\t\"PosID\":\"1\", \"MerchantID\" :\"M1\", \"Sign\": null,\"CardToken\":\"22a\" }",
        r#"{"CardToken":"22a","MerchantID":"M1","PosID":"1","UnRedeem":0}"#,
        "5558ff09f0ce17106a5c88312709a9f448b28ab7ad93664a7ef9ac3e5f2ba900",
    ),
    (
        "escaped in transport, plain when signed",
        r#"{"PosTradeTime":"2020\/08\/01","StoreName":"\u8857\u53e3","R":"\u0041\u007f\u2028&<>'"}"#,
        "{\"PosTradeTime\":\"2020/08/01\",\"R\":\"A\u{7f}\u{2028}&<>'\",\"StoreName\":\"街口\"}",
        "edb7e15af384f8d668ce5711254a09e0448ec8c056c13aa1976c7ac8b8b4b2e8",
    ),
    (
        "the escapes that JSON requires",
        r#"{"R":"\u0000\u0001\b\t\n\u000b\f\r\u001f\u0020\"\\"}"#,
        r#"{"R":"\u0000\u0001\b\t\n\u000b\f\r\u001f \"\\"}"#,
        "fab997f91ad94184f91c5bf96399d8c64e15401accd8949668153ea78af561ef",
    ),
    (
        "beyond the basic plane",
        r#"{"R":"\ud83c\udf75","S":"🍵","𠮷":"é"}"#,
        r#"{"R":"🍵","S":"🍵","𠮷":"é"}"#,
        "17c31c6289199dd92868cd4e8ecb2baf1e78de0797a51d9d289c8d1b3f3ea14b",
    ),
    (
        "keys by bytes: capitals first, then small, then beyond ASCII",
        r#"{"b":1,"a":2,"B":3,"_":4,"A1":5,"A":6,"":7,"é":8,"\uffee":9,"𠮷":10}"#,
        r#"{"":7,"A":6,"A1":5,"B":3,"_":4,"a":2,"b":1,"é":8,"￮":9,"𠮷":10}"#,
        "e0a94dea5703db148c99926365f9f20b4a6de275274ba4f39240b70efed3ab71",
    ),
    (
        "numbers as they were sent",
        r#"{"a":1.0,"b":1e2,"c":1E+2,"d":-0,"e":123456789012345678901234567890,"f":0.10,"g":-0.0}"#,
        r#"{"a":1.0,"b":1e2,"c":1E+2,"d":-0,"e":123456789012345678901234567890,"f":0.10,"g":-0.0}"#,
        "8768f6c2ed27f13fdbea49fffc416243cc7884a1931d610dd3381da854af9dc6",
    ),
    (
        "nested, and only the outer Sign is left out",
        r#"{"Z":{"Sign":"kept","b":[1, {"y":2,"x":[ ]} ,null,true,false],"a":{ }},"Sign":"gone"}"#,
        r#"{"Z":{"Sign":"kept","a":{},"b":[1,{"x":[],"y":2},null,true,false]}}"#,
        "4f3771d19395e0b19b9453e5376a93c3219d26873bed9e7986d0ff2dfdb78ce1",
    ),
    (
        "only a signature",
        r#"{"Sign":"gone"}"#,
        r"{}",
        "3a0b6c5c8e0b824714ad83b77a4f53e7e21135aebf027845120eb11a6497b30f",
    ),
    (
        "quotes, backslashes and slashes",
        r#"{"Extra1":"\"quoted\" \\ path","Extra2":"a/b","TradeAmount":120}"#,
        r#"{"Extra1":"\"quoted\" \\ path","Extra2":"a/b","TradeAmount":120}"#,
        "6a98b0f7ab0ac26c70810d4ba4d76d54d05e6dc4cf0b34b372482a1ae9cdc66b",
    ),
];

#[test]
fn text_and_signature_equal_those_of_another_implementation() {
    for (name, body, expected, sign) in VECTORS {
        let members = parse(body.as_bytes()).unwrap();
        let mut text = Vec::new();
        write(&members, "Sign", SignatureForm::Plain, &mut text);
        assert_eq!(String::from_utf8(text).unwrap(), expected, "{name}");
        let mut hash = Sha256::new();
        write(&members, "Sign", SignatureForm::Plain, &mut hash);
        hash.update(KEY);
        assert_eq!(format!("{:x}", hash.finalize()), sign, "{name}");
    }
}

/// A test vector of the clients in `proto/clients`.
#[derive(serde::Deserialize)]
struct ClientVector<'a> {
    name: String,
    #[serde(borrow)]
    fields: &'a serde_json::value::RawValue,
    text: String,
    key: String,
    sign: String,
}

#[test]
fn the_test_vectors_of_the_clients_are_what_the_ingress_accepts() {
    let vectors = include_str!("../../../../../proto/clients/testdata/signatures.json");
    let vectors: Vec<ClientVector<'_>> = serde_json::from_str(vectors).unwrap();
    assert!(vectors.len() >= 10);
    for ClientVector { name, fields, text: expected, key, sign } in vectors {
        let members = parse(fields.get().as_bytes()).unwrap();
        let mut text = Vec::new();
        write(&members, "Sign", SignatureForm::Plain, &mut text);
        assert_eq!(String::from_utf8(text).unwrap(), expected, "{name}");
        assert_eq!(format!("{:x}", Sha256::digest(expected + &key)), sign, "{name}");
    }
}

/// What other JSON libraries write for one body; Python's `json` wrote the ASCII forms.
#[test]
fn each_form_escapes_and_spaces_as_its_libraries_do() {
    let body = "{\"B\":[1,{\"x\":null}],\"A\":\"A&B </> \u{5e97}\u{1f600}\u{2028}\\u007f\"}";
    let members = parse(body.as_bytes()).unwrap();
    for (form, expected) in [
        (SignatureForm::Plain, "{\"A\":\"A&B </> \u{5e97}\u{1f600}\u{2028}\u{7f}\",\"B\":[1,{\"x\":null}]}"),
        (
            SignatureForm::Html,
            "{\"A\":\"A\\u0026B \\u003c/\\u003e \u{5e97}\u{1f600}\\u2028\u{7f}\",\"B\":[1,{\"x\":null}]}",
        ),
        (SignatureForm::Slash, "{\"A\":\"A&B <\\/> \u{5e97}\u{1f600}\u{2028}\u{7f}\",\"B\":[1,{\"x\":null}]}"),
        (SignatureForm::Ascii, "{\"A\":\"A&B </> \\u5e97\\ud83d\\ude00\\u2028\\u007f\",\"B\":[1,{\"x\":null}]}"),
        (SignatureForm::AsciiSlash, "{\"A\":\"A&B <\\/> \\u5e97\\ud83d\\ude00\\u2028\u{7f}\",\"B\":[1,{\"x\":null}]}"),
        (SignatureForm::Spaced, "{\"A\": \"A&B </> \u{5e97}\u{1f600}\u{2028}\u{7f}\", \"B\": [1, {\"x\": null}]}"),
        (
            SignatureForm::AsciiSpaced,
            "{\"A\": \"A&B </> \\u5e97\\ud83d\\ude00\\u2028\\u007f\", \"B\": [1, {\"x\": null}]}",
        ),
    ] {
        let mut text = Vec::new();
        write(&members, "Sign", form, &mut text);
        assert_eq!(String::from_utf8(text).unwrap(), expected, "{form}");
    }
}

/// A body with every character that some library escapes, with the escapes of JSON in transport.
const EVERY_CHARACTER: &str = r#"{"R":"\"\\/\b\t\n\f\r\u0000\u001f\u007f'<>&=+`é店\u2028😀"}"#;

/// What the default serializers of common languages write for [`EVERY_CHARACTER`]. Python 3, Node
/// 22, Go 1.26 and Gson 2.11 wrote their texts. Those of PHP, System.Text.Json and Newtonsoft.Json
/// follow their sources (`php_json_escape_string`, `DefaultJavaScriptEncoder`, `JavaScriptUtils`).
const OF_LIBRARIES: [(&str, SignatureForm, &str); 8] = [
    (
        "JSON.stringify of JavaScript",
        SignatureForm::Plain,
        "{\"R\":\"\\\"\\\\/\\b\\t\\n\\f\\r\\u0000\\u001f\u{7f}'<>&=+`é店\u{2028}😀\"}",
    ),
    (
        "encoding/json of Go",
        SignatureForm::Html,
        "{\"R\":\"\\\"\\\\/\\b\\t\\n\\f\\r\\u0000\\u001f\u{7f}'\\u003c\\u003e\\u0026=+`é店\\u2028😀\"}",
    ),
    (
        "json_encode of PHP",
        SignatureForm::AsciiSlash,
        "{\"R\":\"\\\"\\\\\\/\\b\\t\\n\\f\\r\\u0000\\u001f\u{7f}'<>&=+`\\u00e9\\u5e97\\u2028\\ud83d\\ude00\"}",
    ),
    (
        "json.dumps of Python, without blanks",
        SignatureForm::Ascii,
        "{\"R\":\"\\\"\\\\/\\b\\t\\n\\f\\r\\u0000\\u001f\\u007f'<>&=+`\\u00e9\\u5e97\\u2028\\ud83d\\ude00\"}",
    ),
    (
        "json.dumps of Python",
        SignatureForm::AsciiSpaced,
        "{\"R\": \"\\\"\\\\/\\b\\t\\n\\f\\r\\u0000\\u001f\\u007f'<>&=+`\\u00e9\\u5e97\\u2028\\ud83d\\ude00\"}",
    ),
    (
        "Gson of Java",
        SignatureForm::Gson,
        "{\"R\":\"\\\"\\\\/\\b\\t\\n\\f\\r\\u0000\\u001f\u{7f}\\u0027\\u003c\\u003e\\u0026\\u003d+`é店\\u2028😀\"}",
    ),
    (
        "System.Text.Json of .NET",
        SignatureForm::DotNet,
        "{\"R\":\"\\u0022\\\\/\\b\\t\\n\\f\\r\\u0000\\u001F\\u007F\\u0027\\u003C\\u003E\\u0026=\\u002B\\u0060\\u00E9\\u5E97\\u2028\\uD83D\\uDE00\"}",
    ),
    (
        "Newtonsoft.Json of .NET with EscapeHtml",
        SignatureForm::Newtonsoft,
        "{\"R\":\"\\u0022\\\\/\\b\\t\\n\\f\\r\\u0000\\u001f\u{7f}\\u0027\\u003c\\u003e\\u0026=+`é店\\u2028😀\"}",
    ),
];

#[test]
fn the_default_of_each_common_library_is_one_of_the_forms() {
    let members = parse(EVERY_CHARACTER.as_bytes()).unwrap();
    for (library, form, expected) in OF_LIBRARIES {
        let mut text = Vec::new();
        write(&members, "Sign", form, &mut text);
        assert_eq!(String::from_utf8(text).unwrap(), expected, "{library}");
    }
}
