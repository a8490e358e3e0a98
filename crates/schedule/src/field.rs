//! The five or six fields of a cron expression, checked so that what is wrong is said in the author's words.
//!
//! croner's own messages do not name the field, and it takes some things that nobody means: a weekday's name as a day of
//! the month, an empty place in a list, `L` as a weekday (which never fires), `L` beside `LW` (of which it drops `L`).

/// What one field takes.
pub(crate) struct Field {
    pub name: &'static str,
    pub least: u32,
    pub most: u32,
    /// Names of values, the first of them `least`.
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
pub(crate) const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

const SECOND: Field = Field {
    name: "second",
    least: 0,
    most: 59,
    names: &[],
};
const MINUTE: Field = Field {
    name: "minute",
    least: 0,
    most: 59,
    names: &[],
};
const HOUR: Field = Field {
    name: "hour",
    least: 0,
    most: 23,
    names: &[],
};
const DAY: Field = Field {
    name: "day of month",
    least: 1,
    most: 31,
    names: &[],
};
const MONTH: Field = Field {
    name: "month",
    least: 1,
    most: 12,
    names: &MONTHS,
};
const WEEKDAY: Field = Field {
    name: "weekday",
    least: 0,
    most: 7,
    names: &WEEKDAYS,
};

/// In the order of a six-field expression; five fields leave out the first.
pub(crate) const FIELDS: [Field; 6] = [SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY];

impl Field {
    /// Checks one field's text, upper case; the answer names what is wrong and what to write.
    pub fn check(&self, text: &str) -> Result<(), String> {
        let text = if self.is_weekday() {
            text.strip_prefix('+').unwrap_or(text)
        } else {
            text
        };
        if text == "*" || text == "?" && self.is_day() {
            return Ok(());
        }
        for item in text.split(',') {
            self.item(item)?;
        }
        let items: Vec<&str> = text.split(',').collect();
        if items.contains(&"L") && items.contains(&"LW") {
            return Err(self.wrong(text, "names L and LW together; make a schedule of each"));
        }
        Ok(())
    }

    fn item(&self, item: &str) -> Result<(), String> {
        match item {
            "" => return Err(self.wrong(
                item,
                "has an empty place; write values with single commas between them and no spaces",
            )),
            "*" | "?" => return Err(self.wrong(
                item,
                "has a wildcard that cannot stand here; in a list or another field write values",
            )),
            _ => {}
        }
        if let Some((range, step)) = item.split_once('/') {
            return self.step(item, range, step);
        }
        if let Some((from, to)) = item.split_once('-') {
            return self.range(item, from, to);
        }
        if self.name == DAY.name {
            match item.strip_suffix('W') {
                Some("L") => return Ok(()),
                Some(day) => return self.value(day).map(drop),
                None if item == "L" => return Ok(()),
                None => {}
            }
        }
        if self.is_weekday() {
            if item == "L" {
                return Err(self.wrong(
                    item,
                    "has L without a weekday; write FRIL for the last Friday of the month",
                ));
            }
            if let Some((day, which)) = item.split_once('#') {
                return match which {
                    "1" | "2" | "3" | "4" | "5" | "L" => self.value(day).map(drop),
                    _ => Err(self.wrong(
                        item,
                        "counts weekdays in a month from #1 to #5, or #L for the last",
                    )),
                };
            }
            if let Some(day) = item.strip_suffix('L') {
                return self.value(day).map(drop);
            }
        }
        self.value(item).map(drop)
    }

    fn step(&self, item: &str, range: &str, step: &str) -> Result<(), String> {
        if range != "*" {
            let Some((from, to)) = range.split_once('-') else {
                return Err(self.wrong(
                    item,
                    &format!(
                        "steps from a single value; write */{step}, or {range}-{}/{step}",
                        self.last()
                    ),
                ));
            };
            self.range(item, from, to)?;
        }
        let most = self.last() - self.least + 1;
        match step.parse::<u32>() {
            Ok(step) if (1..=most).contains(&step) => Ok(()),
            Ok(step) if step > most => Err(self.wrong(
                item,
                &format!("steps further than its {most} values; for intervals that do not divide them use every, such as every: \"90m\""),
            )),
            _ => Err(self.wrong(item, &format!("has a step that is not a number from 1 to {most}"))),
        }
    }

    fn range(&self, item: &str, from: &str, to: &str) -> Result<(), String> {
        let first = self.value(from)?;
        let last = if self.is_weekday() && to == "SUN" {
            self.most
        } else {
            self.value(to)?
        };
        if first > last {
            let (end, start) = (self.last(), self.least);
            let [end, start] = [end, start].map(|value| {
                self.names
                    .get((value - self.least) as usize)
                    .map_or(value.to_string(), |n| (*n).to_owned())
            });
            return Err(self.wrong(
                item,
                &format!("runs backwards; write {from}-{end},{start}-{to}"),
            ));
        }
        Ok(())
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        if let Some(index) = self.names.iter().position(|name| *name == text) {
            return Ok(self.least + index as u32);
        }
        match text.parse::<u32>() {
            Ok(value) if text.bytes().all(|byte| byte.is_ascii_digit()) && text.len() <= 2 => {
                if (self.least..=self.most).contains(&value) {
                    return Ok(value);
                }
                Err(self.wrong(text, &format!("takes {}", self.range_text())))
            }
            Ok(_) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                Err(self.wrong(text, &format!("takes {}", self.range_text())))
            }
            _ => {
                let short = text.get(..3).filter(|short| self.names.contains(short));
                let remedy = short.map_or_else(
                    || format!("takes {}", self.range_text()),
                    |short| format!("writes this {short}"),
                );
                Err(self.wrong(text, &remedy))
            }
        }
    }

    fn range_text(&self) -> String {
        let extra = match self.name {
            name if name == DAY.name => ", L, LW or 15W",
            name if name == WEEKDAY.name => " (0 and 7 are Sunday), SUN-SAT, MON#2 or FRIL",
            name if name == MONTH.name => " or JAN-DEC",
            _ => "",
        };
        format!("{}-{}{extra}", self.least, self.most)
    }

    fn wrong(&self, text: &str, problem: &str) -> String {
        format!("{text:?}: the {} field {problem}", self.name)
    }

    /// The last value once: 7 is a second name of Sunday.
    fn last(&self) -> u32 {
        if self.is_weekday() { 6 } else { self.most }
    }

    fn is_weekday(&self) -> bool {
        self.name == WEEKDAY.name
    }

    fn is_day(&self) -> bool {
        self.is_weekday() || self.name == DAY.name
    }
}
