use std::time::Duration;

use proptest::prelude::*;
use serde::Serialize;

use super::*;

type Hour = Period<1, HOUR>;
type Pause = Period<0, HOUR>;
type Payload = Size<1, MIB>;
type Count = Integer<1, 10_000>;

#[derive(Debug, Serialize, Deserialize)]
struct File<T> {
    key: T,
}

fn from_file<T: de::DeserializeOwned>(value: &str) -> Result<T, String> {
    toml::from_str::<File<T>>(&format!("key = {value}"))
        .map(|file| file.key)
        .map_err(|e| e.message().to_owned())
}

#[test]
fn flags_and_files_refuse_the_same_ports() {
    for bad in ["0", "65536", "70000", "-1", "99999999999999999999"] {
        assert!(bad.parse::<Port>().is_err(), "flag {bad}");
        assert!(from_file::<Port>(bad).is_err(), "file {bad}");
    }
    for bad in ["", " 80", "http", "8_0"] {
        assert!(bad.parse::<Port>().is_err(), "flag {bad:?}");
    }
    assert_eq!(
        from_file::<Port>("70000").unwrap_err(),
        "invalid value 70000: expected a port from 1 to 65535"
    );
    assert_eq!(
        from_file::<Port>("\"80\"").unwrap_err(),
        "invalid type: string \"80\", expected a port from 1 to 65535"
    );
    assert_eq!(from_file::<Port>("65535"), Ok(Port::new(65535)));
    assert_eq!("1".parse::<Port>(), Ok(Port::new(1)));
}

#[test]
fn refused_integer_names_its_range() {
    assert_eq!(
        "0".parse::<Count>().unwrap_err().to_string(),
        "expected an integer from 1 to 10000"
    );
    assert_eq!(
        from_file::<Count>("-9223372036854775808").unwrap_err(),
        "invalid value -9223372036854775808: expected an integer from 1 to 10000"
    );
    assert!(from_file::<Count>("1.0").is_err(), "a float is not an integer");
    assert_eq!(from_file("10_000"), Ok(Count::new(10_000)));
}

#[test]
fn duration_needs_a_unit_and_stays_in_its_range() {
    for bad in ["", "5", "0", "0ms", "1h1ms", "-1s", "5 bananas", "999999999999999999999y"] {
        assert!(bad.parse::<Hour>().is_err(), "{bad:?}");
    }
    assert!("0".parse::<Pause>().is_err(), "zero needs a unit too");
    assert_eq!(
        "5".parse::<Hour>().unwrap_err().to_string(),
        r#"expected a duration from 1ms to 1h, such as "250ms" or "1m30s""#
    );
    assert!(from_file::<Hour>("5").unwrap_err().starts_with("invalid type: integer `5`, expected"));
    for (text, millis) in [("250ms", 250), ("5s", 5_000), ("1m30s", 90_000), ("1h", 3_600_000)] {
        assert_eq!(text.parse(), Ok(Hour::from_millis(millis)));
        assert_eq!(Hour::from_millis(millis).to_string(), text);
    }
    assert_eq!("0ms".parse(), Ok(Pause::from_millis(0)));
    assert_eq!(Pause::from_millis(0).to_string(), "0ms");
}

#[test]
fn size_needs_a_unit_and_stays_in_its_range() {
    for bad in ["", "64", "B", "0B", "2MiB", "16KB", "16kib", "1.5KiB", "-1B", "64Bü"] {
        assert!(bad.parse::<Payload>().is_err(), "{bad:?}");
    }
    assert!("18446744073709551615GiB".parse::<Payload>().is_err(), "no overflow");
    assert_eq!(
        "64".parse::<Payload>().unwrap_err().to_string(),
        r#"expected a size from 1B to 1MiB, such as "64B" or "16KiB""#
    );
    for (text, bytes) in [("64B", 64), ("16KiB", 16 << 10), ("1MiB", 1 << 20), ("1025B", 1025)] {
        assert_eq!(text.parse(), Ok(Payload::from_bytes(bytes)));
        assert_eq!(Payload::from_bytes(bytes).to_string(), text);
    }
}

#[test]
fn refused_choice_names_all_and_the_nearest() {
    assert_eq!(
        "jsno".parse::<Format>().unwrap_err().to_string(),
        "expected `text` or `json`; did you mean `json`?"
    );
    assert_eq!(
        from_file::<Format>("\"xml\"").unwrap_err(),
        "invalid value \"xml\": expected `text` or `json`"
    );
    assert_eq!(
        from_file::<Format>("1").unwrap_err(),
        "invalid type: integer `1`, expected `text` or `json`"
    );
    assert_eq!(from_file("\"json\""), Ok(Format::Json));
    assert_eq!(Format::Json.to_string(), "json");
}

#[test]
fn defaults_are_those_of_the_type() {
    assert_eq!(Integer::<1, 10, 3>::default().get(), 3);
    assert_eq!(Port::<2222>::default().get(), 2222);
    assert_eq!(Period::<0, HOUR, { 5 * SECOND }>::default().to_string(), "5s");
    assert_eq!(Size::<1, MIB, { 64 * KIB }>::default().to_string(), "64KiB");
    assert!(Switch::<true>::default().get() && !Switch::<false>::default().get());
}

#[test]
fn zero_is_none_for_settings_that_can_be_off() {
    assert_eq!(Integer::<0, 10>::new(0).nonzero(), None);
    assert_eq!(Integer::<0, 10>::new(1).nonzero(), Some(1));
    assert_eq!(Pause::from_millis(0).nonzero(), None);
    assert_eq!(Pause::from_millis(1).nonzero(), Some(Duration::from_millis(1)));
}

#[test]
fn array_in_place_of_a_table_is_refused() {
    #[derive(Debug, Deserialize)]
    struct Outer {
        #[serde(deserialize_with = "table")]
        inner: File<u8>,
    }
    assert_eq!(toml::from_str::<Outer>("inner = { key = 7 }").unwrap().inner.key, 7);
    let error = toml::from_str::<Outer>("inner = [7]").unwrap_err();
    assert_eq!(error.message(), "invalid type: sequence, expected a table");
}

proptest! {
    #[test]
    fn hostile_text_never_panics(text in ".{0,40}") {
        let _ = text.parse::<Port>();
        let _ = text.parse::<Count>();
        let _ = text.parse::<Hour>();
        let _ = text.parse::<Payload>();
        let _ = text.parse::<Format>();
    }

    #[test]
    fn written_values_are_read_back(millis in 1_u64..=3_600_000, bytes in 1_usize..=1 << 20) {
        let (period, size) = (Hour::from_millis(millis), Payload::from_bytes(bytes));
        prop_assert_eq!(period.to_string().parse(), Ok(period));
        prop_assert_eq!(size.to_string().parse(), Ok(size));
        let file = toml::to_string(&File { key: size }).unwrap();
        prop_assert_eq!(toml::from_str::<File<Payload>>(&file).unwrap().key, size);
    }
}
