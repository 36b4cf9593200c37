//! The test cases of RFC 9421, Appendix B, and the router's own rules.

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use base64::{Engine, prelude::BASE64_STANDARD};

use super::*;

const SECRET: &str = "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";
const ED25519_KEY: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=
-----END PUBLIC KEY-----";
const P256_KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lf
w0EkjqF7xB4FivAxzic30tMM4GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ==
-----END PUBLIC KEY-----";

/// A request that lives as long as its test.
struct Request {
    uri: Uri,
    headers: HeaderMap,
}

impl Request {
    fn new(uri: &str, headers: &[(&'static str, &str)]) -> Self {
        let header = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        Self { uri: uri.parse().unwrap(), headers: headers.iter().map(header).collect() }
    }

    fn head(&self) -> RequestHead<'_> {
        RequestHead { method: &Method::POST, uri: &self.uri, headers: &self.headers }
    }
}

/// The request of Appendix B.2.
fn of_the_rfc() -> Request {
    Request::new(
        "/foo?param=Value&Pet=dog",
        &[
            ("host", "example.com"),
            ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
            ("content-type", "application/json"),
            ("content-digest", RFC_DIGEST),
            ("content-length", "18"),
        ],
    )
}

const RFC_DIGEST: &str =
    "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:";

fn input(text: &str) -> InnerList {
    let label = format!("s={text}");
    let Some(ListEntry::InnerList(input)) = Parser::new(&label).parse::<Dictionary>().unwrap().shift_remove("s") else {
        panic!("no inner list")
    };
    input
}

fn key(name: &str, algorithm: &str, text: &str) -> MessageKey {
    MessageKey::new(KeyName::parse(name.to_owned()).unwrap(), algorithm, text).unwrap()
}

fn is_signed(key: &MessageKey, base: &str, signature: &str) -> bool {
    key.signed(base.as_bytes(), &BASE64_STANDARD.decode(signature).unwrap())
}

#[test]
fn the_signatures_of_rfc_9421_appendix_b_are_valid() {
    let request = of_the_rfc();
    let base = |text: &str| request.head().signature_base(&input(text)).unwrap();
    // B.2.5
    let hmac = base(r#"("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret""#);
    let expected = "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\"@authority\": example.com\n\"content-type\": application/json\n\
                    \"@signature-params\": (\"date\" \"@authority\" \"content-type\");created=1618884473;keyid=\"test-shared-secret\"";
    assert_eq!(hmac, expected);
    let secret = key("k", "hmac-sha256", SECRET);
    assert!(is_signed(&secret, &hmac, "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8="));
    assert!(!is_signed(&secret, &format!("{hmac} "), "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8="));
    // B.2.6
    let edwards = base(
        r#"("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519""#,
    );
    let public = key("k", "ed25519", ED25519_KEY);
    let signature = "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==";
    assert!(is_signed(&public, &edwards, signature) && !is_signed(&public, &hmac, signature));
    // B.2.4 signs a response.
    let response = "\"@status\": 200\n\"content-type\": application/json\n\"content-digest\": sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4l5aGgfLQ==:\n\
                    \"content-length\": 23\n\"@signature-params\": (\"@status\" \"content-type\" \"content-digest\" \"content-length\");created=1618884473;keyid=\"test-key-ecc-p256\"";
    let public = key("k", "ecdsa-p256-sha256", P256_KEY);
    let signature = "wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw==";
    assert!(is_signed(&public, response, signature) && !is_signed(&public, &edwards, signature));
    // B.2.3, without its signature, which is RSA's.
    let full = base(
        r#"("date" "@method" "@path" "@query" "@authority" "content-type" "content-digest" "content-length");created=1618884473;keyid="test-key-rsa-pss""#,
    );
    let query = "\"@method\": POST\n\"@path\": /foo\n\"@query\": ?param=Value&Pet=dog\n\"@authority\": example.com\n";
    assert!(full.contains(query), "{full}");
    assert!(has_digest(request.head(), br#"{"hello": "world"}"#) && !has_digest(request.head(), b"{}"));
}

#[test]
fn what_cannot_be_covered_has_no_signature_base() {
    let request = of_the_rfc();
    for text in [
        r#"("@method" "@method")"#,
        r#"("@scheme")"#,
        r#"("@target-uri")"#,
        r#"("@status")"#,
        r#"("@query-param";name="Pet")"#,
        r#"("content-type";sf)"#,
        r#"("Content-Type")"#,
        r#"("absent")"#,
        r"(token)",
        r"(1)",
    ] {
        assert_eq!(request.head().signature_base(&input(text)), None, "{text}");
    }
    let many = (0..33).map(|n| format!("\"h{n}\"")).collect::<Vec<_>>().join(" ");
    assert_eq!(request.head().signature_base(&input(&format!("({many})"))), None);
}

const BODY: &[u8] = br#"{"MerchantID":"M1"}"#;
const NOW: UnixMs = UnixMs(1_790_000_000_000);
const COVERS: &str = r#"("@method" "@path" "content-digest")"#;

fn parameters(more: &str) -> String {
    format!(r#"{COVERS};created=1790000000;keyid="K";alg="hmac-sha256";nonce="0123456789abcdef"{more}"#)
}

fn digest_of(body: &[u8]) -> String {
    format!("sha-256=:{}:", BASE64_STANDARD.encode(digest(&SHA256, body)))
}

/// Signs with the secret of the RFC.
fn signed(parameters: &str, content_digest: &str) -> Request {
    let unsigned = Request::new("/Pos/Payment", &[("content-digest", content_digest)]);
    let base = unsigned.head().signature_base(&input(parameters)).unwrap();
    let secret = hmac::Key::new(hmac::HMAC_SHA256, &BASE64_STANDARD.decode(SECRET).unwrap());
    let signature = BASE64_STANDARD.encode(hmac::sign(&secret, base.as_bytes()));
    let (input, signature) = (format!("s={parameters}"), format!("s=:{signature}:"));
    let headers = [("content-digest", content_digest), ("signature-input", &input), ("signature", &signature)];
    Request::new("/Pos/Payment", &headers)
}

fn check(request: &Request, now: UnixMs) -> Result<MessageSignature, SignatureFault> {
    verify(request.head(), BODY, &[key("K", "hmac-sha256", SECRET)], now)
}

#[test]
fn a_signature_needs_all_that_makes_a_replay_recognisable() {
    use SignatureFault::{Digest, Incomplete, NotSigned, Untimely};
    let good = signed(&parameters(""), &digest_of(BODY));
    let found = check(&good, NOW).unwrap();
    assert_eq!((found.key.as_str(), found.nonce.until), ("K", NOW.plus(360_000)));
    let without = |part: &str| parameters("").replace(part, "");
    for (parameters, expected) in [
        (without(";created=1790000000"), Incomplete),
        (without(";nonce=\"0123456789abcdef\""), Incomplete),
        (parameters("").replace("abcdef", "abcde"), Incomplete),
        (without("\"@method\" "), Incomplete),
        (without(" \"@path\""), Incomplete),
        (without(" \"content-digest\""), Incomplete),
        (without(";alg=\"hmac-sha256\""), Incomplete),
        (without(";keyid=\"K\""), NotSigned),
        (parameters("").replace("hmac-sha256", "ed25519"), NotSigned),
        (parameters("").replace("keyid=\"K\"", "keyid=\"L\""), NotSigned),
        (parameters(";expires=1789999999"), Untimely),
        (parameters(";expires=\"1790000100\""), Incomplete),
        (parameters(";expires=1790000100.5"), Incomplete),
        (parameters(";expires"), Incomplete),
    ] {
        assert_eq!(check(&signed(&parameters, &digest_of(BODY)), NOW), Err(expected), "{parameters}");
    }
    for digest in [&digest_of(b"{}"), "sha-1=:AAAA:", "sha-256=AAAA", &format!("{}, sha-512=:AAAA:", digest_of(BODY))] {
        assert_eq!(check(&signed(&parameters(""), digest), NOW), Err(Digest), "{digest}");
    }
    for (later_ms, is_accepted) in [(-30_001, false), (-30_000, true), (300_000, true), (300_001, false)] {
        assert_eq!(check(&good, NOW.plus(later_ms)).is_ok(), is_accepted, "{later_ms}");
    }
    assert_eq!(verify(good.head(), BODY, &[], NOW), Err(NotSigned));
    let other_path = Request { uri: "/Pos/Refund".parse().unwrap(), headers: good.headers.clone() };
    assert_eq!(check(&other_path, NOW), Err(NotSigned));
    let nonce = |parameters: &str| check(&signed(parameters, &digest_of(BODY)), NOW).unwrap().nonce.digest;
    assert_eq!(nonce(&parameters(";tag=\"a\"")), found.nonce.digest, "only key and nonce are in it");
    assert_ne!(nonce(&parameters("").replace("abcdef", "abcdee")), found.nonce.digest);
}

#[test]
fn a_signature_beside_those_of_proxies_is_found_by_its_key_and_more_than_four_are_refused() {
    let good = signed(&parameters(""), &digest_of(BODY));
    let header = |name: &str| good.headers[name].to_str().unwrap().to_owned();
    let with = |before: usize, behind: usize, unsigned: usize| {
        let among = |own: String, text: &str, behind: usize| {
            let mut all: Vec<String> = (0..before + behind).map(|n| format!("p{n}={text}")).collect();
            all.insert(before, own);
            all.join(", ")
        };
        let proxy = "(\"via\");keyid=\"proxy\";alg=\"ed25519\"";
        let inputs = among(header("signature-input"), proxy, behind + unsigned);
        let signatures = among(header("signature"), ":AAAA:", behind);
        let digest = header("content-digest");
        let headers = [("content-digest", &*digest), ("signature-input", &inputs), ("signature", &signatures)];
        check(&Request::new("/Pos/Payment", &headers), NOW).map(drop)
    };
    for (before, behind, unsigned, expected) in [
        (1, 0, 0, Ok(())),
        (3, 0, 0, Ok(())),
        (0, 3, 0, Ok(())),
        (1, 1, 1, Ok(())),
        (4, 0, 0, Err(SignatureFault::TooMany)),
        (0, 4, 0, Err(SignatureFault::TooMany)),
        (0, 3, 1, Err(SignatureFault::TooMany)),
    ] {
        assert_eq!(with(before, behind, unsigned), expected, "{before} before, {behind} behind, {unsigned} unsigned");
    }
}

#[test]
fn a_request_with_several_signatures_of_its_merchant_is_refused() {
    let digest = digest_of(BODY);
    let first = signed(&parameters(""), &digest);
    let second = signed(&parameters("").replace("abcdef", "fedcba"), &digest);
    assert!(check(&first, NOW).is_ok() && check(&second, NOW).is_ok());
    let both = |name: &str| {
        let [first, second] = [&first, &second].map(|request| request.headers[name].to_str().unwrap().to_owned());
        format!("{first}, t{}", &second[1..])
    };
    let (inputs, signatures) = (both("signature-input"), both("signature"));
    let headers = [("content-digest", &*digest), ("signature-input", &inputs), ("signature", &signatures)];
    let several = check(&Request::new("/Pos/Payment", &headers), NOW);
    assert_eq!(several, Err(SignatureFault::Several), "each of the two alone would be accepted once");
}

#[test]
fn an_unknown_key_costs_the_check_of_a_known_one() {
    let known =
        [key("K", "hmac-sha256", SECRET), key("E", "ed25519", ED25519_KEY), key("P", "ecdsa-p256-sha256", P256_KEY)];
    let checks = |keyid: &str, algorithm: &str, keys: &[MessageKey]| {
        let input = format!("s={COVERS};keyid=\"{keyid}\";alg=\"{algorithm}\"");
        let headers = [("content-digest", RFC_DIGEST), ("signature-input", &input), ("signature", "s=:AAAA:")];
        let request = Request::new("/Pos/Payment", &headers);
        let mut checks = Vec::new();
        let signatures = signatures(request.head()).unwrap();
        let found = valid(request.head(), &signatures, keys, |key, base, signature| {
            checks.push((key.algorithm(), base.len()));
            key.signed(base, signature)
        });
        assert!(found.is_empty(), "{keyid}");
        checks
    };
    for key in &known {
        let expected = checks(key.name.as_str(), key.algorithm(), &known);
        assert!(expected.len() == 1 && expected[0].0 == key.algorithm(), "{expected:?}");
        assert_eq!(checks("L", key.algorithm(), &known), expected, "an unknown key");
        assert_eq!(checks(key.name.as_str(), key.algorithm(), &[]), expected, "an unknown merchant");
    }
    assert_eq!(checks("K", "ed25519", &known), checks("L", "ed25519", &known), "not the key's algorithm");
    assert_eq!(checks("K", "rsa-pss-sha512", &known), [], "an algorithm that no key has");
    let none = MessageKey::of_no_merchant("hmac-sha256").unwrap();
    let zeros = hmac::Key::new(hmac::HMAC_SHA256, &[0; 32]);
    assert!(none.signed(BODY, hmac::sign(&zeros, BODY).as_ref()), "its secret is no secret");
}

#[test]
fn public_keys_are_taken_as_bytes_and_as_der_and_no_others() {
    let random = SystemRandom::new();
    let edwards = Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&random).unwrap().as_ref()).unwrap();
    let rule = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(rule, &random).unwrap();
    let ecdsa = EcdsaKeyPair::from_pkcs8(rule, pkcs8.as_ref()).unwrap();
    for (algorithm, bytes, signature) in [
        ("ed25519", edwards.public_key().as_ref(), edwards.sign(BODY).as_ref().to_vec()),
        ("ecdsa-p256-sha256", ecdsa.public_key().as_ref(), ecdsa.sign(&random, BODY).unwrap().as_ref().to_vec()),
    ] {
        let key = key("k", algorithm, &BASE64_STANDARD.encode(bytes));
        assert!(key.signed(BODY, &signature) && !key.signed(b"{}", &signature) && !key.signed(BODY, &[]));
        let name = || KeyName::parse("k".to_owned()).unwrap();
        for wrong in [&bytes[1..], &[]] {
            assert!(MessageKey::new(name(), algorithm, &BASE64_STANDARD.encode(wrong)).is_err());
        }
    }
    let wrong = MessageKey::new(KeyName::parse("k".to_owned()).unwrap(), "ed25519", P256_KEY);
    assert!(wrong.is_err_and(|what| what == "a key is not a public key of ed25519"));
}
