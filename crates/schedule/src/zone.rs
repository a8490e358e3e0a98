//! Time zones by their IANA names, in the edition of the database that jiff finds on the machine or carries along.

use jiff::tz::{self, TimeZone};

use crate::error::Error;
use crate::near::nearest;

/// The zone of that name, with its canonical spelling; case does not count.
pub(crate) fn find(field: &str, name: &str) -> Result<(String, TimeZone), Error> {
    let unknown = || {
        let remedy = match suggestion(name) {
            Some(near) => format!("did you mean {near}?"),
            None => "write an IANA name such as Europe/Berlin or UTC (an offset or an abbreviation is not a zone)".to_owned(),
        };
        Error::new(field, format!("there is no time zone {name:?}; {remedy}"))
    };
    let zone = tz::db().get(name).map_err(|_| unknown())?;
    match zone.iana_name() {
        Some(canonical) if !zone.is_unknown() => Ok((canonical.to_owned(), zone)),
        _ => Err(unknown()),
    }
}

/// A zone of that city, else the one whose name is nearest.
fn suggestion(name: &str) -> Option<String> {
    let names: Vec<String> = tz::db()
        .available()
        .map(|name| name.as_str().to_owned())
        .collect();
    let city = name
        .rsplit('/')
        .next()
        .unwrap_or(name)
        .trim()
        .replace(' ', "_");
    let of_city = names.iter().find(|known| {
        known.rsplit_once('/').is_some_and(|(area, of)| {
            of.eq_ignore_ascii_case(&city) && !matches!(area, "posix" | "right" | "Etc")
        })
    });
    of_city
        .map(String::as_str)
        .or_else(|| nearest(name, names.iter().map(String::as_str)))
        .map(str::to_owned)
}
