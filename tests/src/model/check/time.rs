use hallway_core::UnixTime;

/// The text of a time is that of a calendar that counts years, months and days one by one
/// (local.md §3: three fraction digits, UTC); there are times up to the end of the year 9999.
///
/// # Panics
///
/// When it is not.
pub fn check_time(millis: u64) {
    let Some(expected) = text(millis) else {
        assert_eq!(
            UnixTime::from_millis(millis),
            None,
            "{millis} is after 9999"
        );
        return;
    };
    let time = UnixTime::from_millis(millis).expect("a time before the year 10000");
    assert_eq!(time.as_millis(), millis);
    assert_eq!(time.iso8601(), *expected.as_bytes());
    assert_eq!(time.to_string(), expected);
    assert_eq!(time.since(UnixTime::EPOCH).as_millis(), u128::from(millis));
    assert!(UnixTime::EPOCH.since(time).is_zero());
}

fn text(millis: u64) -> Option<String> {
    let divides = |n: u64, year: u64| year.is_multiple_of(n);
    let is_leap = |year| divides(4, year) && (!divides(100, year) || divides(400, year));
    // 400 years have 146,097 days, wherever they begin.
    let mut days = millis / 86_400_000;
    let mut year = 1970 + days / 146_097 * 400;
    if year > 9_999 {
        return None;
    }
    days %= 146_097;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (s, ms) = (millis / 1_000, millis % 1_000);
    let (hour, minute, second) = (s / 3_600 % 24, s / 60 % 60, s % 60);
    (year <= 9_999).then(|| {
        let day = days + 1;
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    })
}
