//! Amounts as people write them: decimal CPC, exact to the last of 18 places, or units of 10⁻¹⁸ CPC.

/// Decimal places of a CPC.
const PLACES: usize = 18;

/// Units in one CPC.
const CPC: u128 = 10u128.pow(18);

/// Ends an amount in units.
const UNITS: &str = "units";

/// Reads `1.5` (CPC) or `1500units`; gives units.
///
/// # Errors
/// What is wrong with the text.
pub(crate) fn parse(text: &str) -> Result<u128, String> {
    let wrong =
        || format!("expected CPC with at most {PLACES} decimal places, such as 1.5, or units, such as 25{UNITS}");
    let too_much = || "it is 2^128 units or more, which no account can hold".to_owned();
    let number = |digits: &str| {
        let digits_alone = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if digits_alone { digits.parse::<u128>().map_err(|_| too_much()) } else { Err(wrong()) }
    };
    if let Some(units) = text.strip_suffix(UNITS) {
        return number(units.trim_end());
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.len() > PLACES {
        return Err(wrong());
    }
    let fraction = number(&format!("{fraction:0<PLACES$}")).and_then(|units| {
        // "1." is a slip, not a number.
        if fraction.is_empty() { Err(wrong()) } else { Ok(units) }
    })?;
    number(whole)?.checked_mul(CPC).and_then(|units| units.checked_add(fraction)).ok_or_else(too_much)
}

/// Units as decimal CPC, without superfluous zeros.
pub(crate) fn cpc(units: u128) -> String {
    let (whole, fraction) = (units / CPC, units % CPC);
    if fraction == 0 {
        return whole.to_string();
    }
    let fraction = format!("{fraction:0>PLACES$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpc_is_read_exactly() {
        for (text, units) in [
            ("0", 0),
            ("1", CPC),
            ("1.5", 1_500_000_000_000_000_000),
            ("0.000000000000000001", 1),
            ("0.1", CPC / 10),
            ("123456789.123456789012345678", 123_456_789_123_456_789_012_345_678),
            ("340282366920938463463.374607431768211455", u128::MAX),
            ("25units", 25),
            ("25 units", 25),
            ("340282366920938463463374607431768211455units", u128::MAX),
        ] {
            assert_eq!(parse(text), Ok(units), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            "1,5",
            "1e18",
            " 1",
            "1 ",
            "1.2.3",
            "0x10",
            "units",
            "1.5units",
            "-1units",
            "0.0000000000000000001",
            "1.0000000000000000000",
            "1_000",
            "١",
            "340282366920938463463.374607431768211456",
            "340282366920938463463374607431768211456units",
        ] {
            assert!(parse(text).is_err(), "{text:?} gave {:?}", parse(text));
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for units in [0, 1, 10, CPC - 1, CPC, CPC + 1, 15 * CPC / 10, 10u128.pow(27), u128::MAX] {
            assert_eq!(parse(&cpc(units)), Ok(units), "{}", cpc(units));
        }
        assert_eq!((cpc(CPC), cpc(15 * CPC / 10), cpc(1)), ("1".into(), "1.5".into(), "0.000000000000000001".into()));
    }
}
